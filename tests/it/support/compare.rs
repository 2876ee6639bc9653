//! A comparison of two databases by psql and pg_dump alone: none of our own code decides whether a restore is equal.

use super::{
    Result,
    pg::{Server, psql},
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What a database holds: object -> description of its content.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    objects: BTreeMap<String, String>,
    schema: Vec<String>,
}

/// What differs between two databases, one line each; empty when they are equal.
pub async fn compare(a: (&Server, &str), b: (&Server, &str)) -> Result<Vec<String>> {
    let (a, b) = (content(a.0, a.1).await?, content(b.0, b.1).await?);
    Ok(a.differences(&b))
}

/// The same session for both sides.
const SESSION: &str = "SET search_path = ''; SET row_security = off; SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; \
    SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET extra_float_digits = 3; SET lc_monetary = 'C';\n";

/// Every relation whose rows are its own, with the query that reads them. Columns go by name, since an inherited child's order
/// may change on a restore. A partition tree is read through its root as well, and its leaves alone only when no hash
/// decides where a row lies.
const RELATIONS: &str = r#"
WITH RECURSIVE hashed AS (
  SELECT partrelid AS oid FROM pg_catalog.pg_partitioned_table WHERE partstrat = 'h'
  UNION SELECT i.inhrelid FROM hashed h JOIN pg_catalog.pg_inherits i ON i.inhparent = h.oid
), relation AS (
  SELECT c.oid, c.relkind, n.nspname, c.relname FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(toast_)?temp'
    AND (c.relkind = 'r' AND c.oid NOT IN (SELECT oid FROM hashed) OR c.relkind = 'p' AND NOT c.relispartition
      OR c.relkind = 'm' AND c.relispopulated)
)
SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.format('%s %I.%I', CASE relkind WHEN 'r' THEN 'table'
    WHEN 'p' THEN 'partitioned table' ELSE 'matview' END, nspname, relname), pg_catalog.getdatabaseencoding()), 'hex')
  || ' ' || pg_catalog.encode(pg_catalog.convert_to(pg_catalog.format('SELECT %s FROM %s %I.%I',
    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attname COLLATE "C")
     FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped),
    CASE WHEN relkind = 'r' THEN 'ONLY' ELSE '' END, nspname, relname), pg_catalog.getdatabaseencoding()), 'hex')
FROM relation r ORDER BY nspname COLLATE "C", relname COLLATE "C"
"#;

/// One line per other object.
const OTHERS: &str = r#"
SELECT pg_catalog.format('matview %I.%I populated: %s', schemaname, matviewname, ispopulated) FROM pg_catalog.pg_matviews;
SELECT pg_catalog.format('large object %s: owner %s, acl %s, md5 %s', oid, pg_catalog.pg_get_userbyid(lomowner),
  (SELECT pg_catalog.array_agg(x::text ORDER BY x::text COLLATE "C") FROM pg_catalog.unnest(lomacl) x),
  pg_catalog.md5(pg_catalog.lo_get(oid))) FROM pg_catalog.pg_largeobject_metadata;
SELECT pg_catalog.format('extension %s %s in %s', extname, extversion, extnamespace::regnamespace) FROM pg_catalog.pg_extension;
SELECT pg_catalog.format('index %s valid: %s', indexrelid::regclass, indisvalid) FROM pg_catalog.pg_index
  JOIN pg_catalog.pg_class c ON c.oid = indrelid WHERE c.oid >= 16384 AND c.relkind <> 't';
"#;

/// Each sequence with the query for its state.
const SEQUENCES: &str = r#"
SELECT pg_catalog.format($$SELECT 'sequence ' || %L || ': ' || last_value || ', called ' || is_called FROM %I.%I;$$,
  pg_catalog.format('%I.%I', n.nspname, c.relname), n.nspname, c.relname)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S'
"#;

/// Reads everything that a backup should hold.
pub async fn content(server: &Server, db: &str) -> Result<Content> {
    let run = async |sql: &[u8]| {
        // Names and rows are in the database's own encoding, which need not be UTF-8.
        psql(&server.bin, &server.socket(db), [SESSION.as_bytes(), sql].concat()).await
    };
    let mut content = Content::default();

    let mut script = Vec::new();
    let mut names = Vec::new();
    let relations = run(RELATIONS.as_bytes()).await?;
    for line in String::from_utf8(relations)?.lines() {
        let (name, query) = line.split_once(' ').unwrap_or((line, ""));
        names.push(String::from_utf8_lossy(&hex::decode(name)?).into_owned());
        script.extend_from_slice(format!("\\echo {MARK}\nCOPY (").as_bytes());
        script.extend_from_slice(&hex::decode(query)?);
        script.extend_from_slice(b") TO STDOUT;\n");
    }
    let rows = run(&script).await?;
    for (name, part) in names.iter().zip(split(&rows, format!("{MARK}\n").as_bytes()).into_iter().skip(1)) {
        let mut lines: Vec<&[u8]> = part.strip_suffix(b"\n").map_or(Vec::new(), |p| p.split(|b| *b == b'\n').collect());
        lines.sort_unstable();
        let digest = lines.iter().fold(Sha256::new(), |h, l| h.chain_update(l).chain_update(b"\n")).finalize();
        content.objects.insert(name.clone(), format!("{} rows, {}", lines.len(), &hex::encode(digest)[..16]));
    }
    anyhow::ensure!(names.len() == content.objects.len(), "{} relations, {} read", names.len(), content.objects.len());

    let sequences = run(SEQUENCES.as_bytes()).await?;
    let others = run(&[&sequences, OTHERS.as_bytes()].concat()).await?;
    for line in String::from_utf8_lossy(&others).lines() {
        let (name, state) = line.split_once(": ").unwrap_or((line, ""));
        content.objects.insert(name.to_owned(), state.to_owned());
    }

    let schema = server.tool("pg_dump", &["--schema-only", "-d", &server.socket(db)]).await?;
    content.schema = normalised(&String::from_utf8_lossy(&schema));
    Ok(content)
}

const MARK: &str = "7f1c6f8e-next-relation-2b9a";

impl Content {
    /// What differs, one line each.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for name in self.objects.keys().chain(other.objects.keys()).collect::<BTreeSet<_>>() {
            let (a, b) = (self.objects.get(name), other.objects.get(name));
            if a != b {
                let show = |s: Option<&String>| s.map_or("missing".to_owned(), Clone::clone);
                found.push(format!("{name}: {} <> {}", show(a), show(b)));
            }
        }
        for (sign, these, those) in [("-", &self.schema, &other.schema), ("+", &other.schema, &self.schema)] {
            let mut left: BTreeMap<&str, i64> = BTreeMap::new();
            those.iter().for_each(|l| *left.entry(l).or_default() += 1);
            for line in these {
                let n = left.entry(line).or_default();
                *n -= 1;
                if *n < 0 {
                    found.push(format!("schema: {sign} {line}"));
                }
            }
        }
        if found.is_empty() && self.schema != other.schema {
            found.push("schema: the same lines in another order".to_owned());
        }
        found
    }
}

/// A schema dump without what rightly differs: comments (versions, dates), `\restrict` keys, blank lines. `IN` lists over
/// varchar are printed with other casts once they have been read back.
fn normalised(schema: &str) -> Vec<String> {
    schema
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with("--") && !l.starts_with('\\'))
        .map(|line| match line.contains("::character varying") && line.contains("ANY (") {
            true => line
                .replace("::character varying", "")
                .replace("::text[]", "")
                .replace("::text", "")
                .replace(['(', ')'], ""),
            false if line.starts_with("CREATE POLICY ") => roles_sorted(line),
            false => line.to_owned(),
        })
        .collect()
}

/// A policy lists its roles by their OIDs, which another server gives out in another order.
fn roles_sorted(policy: &str) -> String {
    let Some((head, rest)) = policy.split_once(" TO ") else { return policy.to_owned() };
    let end = [" USING (", " WITH CHECK (", ";"].iter().filter_map(|e| rest.find(e)).min().unwrap_or(rest.len());
    let mut roles: Vec<&str> = rest[..end].split(", ").collect();
    roles.sort_unstable();
    format!("{head} TO {}{}", roles.join(", "), &rest[end..])
}

fn split<'a>(mut bytes: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(mark.len()).position(|w| w == mark) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + mark.len()..];
    }
    parts.push(bytes);
    parts
}
