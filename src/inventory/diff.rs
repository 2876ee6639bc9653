//! `savepoint diff`: what two stored backups have not in common.

use super::show;
use crate::{
    archive::{schema, toc::Toc},
    clock::{age, moment},
    crypt::Identities,
    error::{Error, Result},
    report::{
        format::{bytes, count, counted},
        page::{self, Page, Verdict},
    },
    sign::PublicKeys,
    store::Destination,
    vault::{Folder, Manifest, Pick, Stored, find, manifest::Table, read::whole_manifest},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// Which two backups are compared.
#[derive(Clone, Debug)]
pub struct DiffConfig {
    /// Where backups lie.
    pub destination: Destination,
    /// The one, by custom the older.
    pub one: Pick,
    /// The other.
    pub other: Pick,
    /// Opens backups that are encrypted.
    pub identity: Option<Identities>,
    /// Compare only what one of these keys signed.
    pub verify_key: Option<PublicKeys>,
}

/// Tables, rows, sizes and schema of two backups, in the order in which they were named.
///
/// # Errors
/// When one of them is not there, or its manifest cannot be read. A table of contents that cannot be read is a warning.
pub async fn diff(config: &DiffConfig) -> Result<Page> {
    let place = |pick| find::place(&config.destination, pick);
    let (one, other) = tokio::try_join!(place(&config.one), place(&config.other))?;
    let mut strangers = one.found.strangers;
    for line in other.found.strangers.into_iter().chain(one.passed_over).chain(other.passed_over) {
        if !strangers.contains(&line) {
            strangers.push(line);
        }
    }
    let folder = |store, stored: &Stored| Folder::new(store, &stored.folder).opened_by(config.identity.clone());
    let (stores, one, other) =
        ((one.store, other.store), show::the_one(one.found.backups)?, show::the_one(other.found.backups)?);
    let (in_one, in_other) = (folder(stores.0, &one), folder(stores.1, &other));
    let trusted = config.verify_key.as_ref();
    let (a, b) = tokio::try_join!(whole_manifest(&in_one, &one, trusted), whole_manifest(&in_other, &other, trusted))?;
    let mut page = Page::new("diff", "");
    page.warnings = strangers;
    page.warnings.extend([&a, &b].iter().filter_map(|of| of.receipt.warning(&format!("backup {}", of.manifest.id))));
    let (a, b) = (a.manifest, b.manifest);
    let mut entries = Vec::new();
    if a.schema_digest != b.schema_digest {
        match tokio::try_join!(toc(&in_one, &a), toc(&in_other, &b)) {
            Ok((a, b)) => entries = schema_lines(&a, &b),
            Err(e) => {
                page.verdict = Verdict::Doubtful;
                page.warnings.push(e.context("the schemas cannot be compared entry by entry").one_line());
            }
        }
    }
    Sides::of(&a, &b, entries).tell(&mut page, OffsetDateTime::now_utc());
    Ok(page)
}

async fn toc(folder: &Folder, manifest: &Manifest) -> Result<Toc> {
    let file = manifest.toc()?;
    let bytes = folder.open(file, None).await?.bytes().await?;
    Toc::parse(&bytes).map_err(|e: Error| e.context(format!("stored file {}", folder.key(&file.path))))
}

fn schema_lines(a: &Toc, b: &Toc) -> Vec<String> {
    let line = |d: schema::Difference| {
        let what = match d.what.as_str() {
            "missing in the restored copy" => ONLY_ONE,
            "only in the restored copy" => ONLY_OTHER,
            what => what,
        };
        format!("{}: {what}", d.object)
    };
    schema::differences(a, b).into_iter().map(line).collect()
}

const ONLY_ONE: &str = "only in the first";
const ONLY_OTHER: &str = "only in the second";

/// A table that both backups have, and that is not the same in both.
struct Changed<'a> {
    a: &'a Table,
    b: &'a Table,
    /// Columns that only one has.
    columns: Vec<String>,
}

impl Changed<'_> {
    fn name(&self) -> String {
        format!("{}.{}", self.a.schema, self.a.name)
    }

    fn json(&self) -> Value {
        let Changed { a, b, columns } = self;
        json!({
            "table": self.name(), "rows": [a.rows, b.rows], "bytes": [a.bytes, b.bytes],
            "same_content": a.rows == b.rows && a.fingerprint == b.fingerprint, "columns": columns,
        })
    }

    fn what(&self) -> String {
        let mut parts = Vec::new();
        match self.b.rows.cmp(&self.a.rows) {
            std::cmp::Ordering::Greater => parts.push(format!("{} more", counted(self.b.rows - self.a.rows, "row"))),
            std::cmp::Ordering::Less => parts.push(format!("{} fewer", counted(self.a.rows - self.b.rows, "row"))),
            std::cmp::Ordering::Equal if self.columns.is_empty() => parts.push("same rows, other content".into()),
            std::cmp::Ordering::Equal => {}
        }
        parts.extend(self.columns.iter().cloned());
        parts.join(", ")
    }
}

/// Two backups side by side.
struct Sides<'a> {
    a: &'a Manifest,
    b: &'a Manifest,
    /// Tables that only one has, and their rows.
    only_a: Vec<(String, u64)>,
    only_b: Vec<(String, u64)>,
    /// Tables that both have, those with the largest difference of rows first.
    changed: Vec<Changed<'a>>,
    /// How many tables are the same in both.
    equal: usize,
    /// Entries of the schema that differ.
    entries: Vec<String>,
    /// What else differs by name.
    others: Vec<(&'static str, Vec<String>)>,
}

impl<'a> Sides<'a> {
    fn of(a: &'a Manifest, b: &'a Manifest, entries: Vec<String>) -> Self {
        fn by_name(m: &Manifest) -> BTreeMap<(&str, &str), &Table> {
            m.tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t)).collect()
        }
        type Tables<'a> = BTreeMap<(&'a str, &'a str), &'a Table>;
        let (of_a, of_b) = (by_name(a), by_name(b));
        let only = |these: &Tables<'_>, those: &Tables<'_>| -> Vec<(String, u64)> {
            let missing = these.iter().filter(|(name, _)| !those.contains_key(*name));
            missing.map(|((schema, name), t)| (format!("{schema}.{name}"), t.rows)).collect()
        };
        let both = || of_a.iter().filter_map(|(name, a)| Some((*a, *of_b.get(name)?)));
        let mut changed: Vec<Changed<'_>> = both()
            .filter(|(a, b)| (a.rows, &a.fingerprint, &a.columns) != (b.rows, &b.fingerprint, &b.columns))
            .map(|(a, b)| Changed { a, b, columns: columns(a, b) })
            .collect();
        changed.sort_by_key(|c| std::cmp::Reverse(c.a.rows.abs_diff(c.b.rows)));
        let (only_a, only_b) = (only(&of_a, &of_b), only(&of_b, &of_a));
        let equal = both().count() - changed.len();
        Sides { a, b, only_a, only_b, changed, equal, entries, others: named(a, b) }
    }

    /// Adds everything to a page.
    fn tell(&self, page: &mut Page, now: OffsetDateTime) {
        page.headline = self.headline();
        page.facts = self.facts(now);
        page.tables.push(self.table());
        page.lists.extend(self.lists());
        page.json = self.json();
    }

    fn same_schema(&self) -> bool {
        self.a.schema_digest == self.b.schema_digest
    }

    /// How many tables are not the same.
    fn differ(&self) -> usize {
        self.only_a.len() + self.only_b.len() + self.changed.len()
    }

    fn headline(&self) -> String {
        let database = &self.a.source.database;
        match (self.a.id == self.b.id, self.differ(), self.same_schema()) {
            (true, ..) => format!("{database}: one and the same backup"),
            (_, 0, true) => format!("{database}: equal tables, equal schema"),
            (_, 0, false) => format!("{database}: equal tables, but the schema differs"),
            (_, n, true) => format!("{database}: {}, equal schema", tables_differ(n)),
            (_, n, false) => format!("{database}: {}, and so does the schema", tables_differ(n)),
        }
    }

    fn facts(&self, now: OffsetDateTime) -> Vec<(&'static str, String)> {
        let (a, b) = (self.a, self.b);
        let label = |m: &Manifest| {
            let at = moment(&m.taken_at).map(|at| format!(", {} ago", age(now, at))).unwrap_or_default();
            let same = a.source.database == b.source.database;
            let of = if same { String::new() } else { format!(" of {}", m.source.database) };
            format!("{}{of}{at}, PostgreSQL {}", m.id, m.source.server_version)
        };
        let schema = match (self.same_schema(), self.entries.len()) {
            (true, _) => "equal".to_owned(),
            (false, 0) => "differs".to_owned(),
            (false, 1) => "1 entry differs".to_owned(),
            (false, n) => format!("{} entries differ", count(n as u64)),
        };
        let tables = format!("{} and {}, {} equal", count(a.totals.tables), count(b.totals.tables), self.equal);
        let mut facts = vec![
            ("first", label(a)),
            ("second", label(b)),
            ("tables", tables),
            ("rows", pair(a.totals.rows, b.totals.rows, count)),
            ("size", pair(a.totals.bytes, b.totals.bytes, bytes)),
            ("stored", pair(a.totals.stored_bytes, b.totals.stored_bytes, bytes)),
            ("schema", schema),
        ];
        if a.options.filter != b.options.filter {
            let asked = |m: &Manifest| match show::asked_for(m) {
                all if all.is_empty() => "everything".to_owned(),
                some => some,
            };
            facts.push(("asked for", format!("{}, then {}", asked(a), asked(b))));
        }
        facts
    }

    fn table(&self) -> page::Table {
        let row = |c: &Changed<'_>| {
            vec![count(c.a.rows), count(c.b.rows), bytes(c.a.bytes), bytes(c.b.bytes), c.name(), c.what()]
        };
        page::Table {
            title: "tables that differ".into(),
            columns: vec![
                ("rows", true),
                ("then", true),
                ("size", true),
                ("then", true),
                ("table", false),
                ("what differs", false),
            ],
            rows: self.changed.iter().map(row).collect(),
            whole: true,
        }
    }

    fn lists(&self) -> Vec<(&'static str, Vec<String>)> {
        let with_rows =
            |list: &[(String, u64)]| list.iter().map(|(n, r)| format!("{n} ({})", counted(*r, "row"))).collect();
        let left_out = |m: &Manifest, other: &Manifest| -> Vec<String> {
            m.left_out.iter().filter(|l| !other.left_out.contains(l)).cloned().collect()
        };
        let mut lists = vec![
            ("tables only in the first", with_rows(&self.only_a)),
            ("tables only in the second", with_rows(&self.only_b)),
            ("schema", self.entries.clone()),
        ];
        lists.extend(self.others.iter().cloned());
        lists.push(("left out of the first alone", left_out(self.a, self.b)));
        lists.push(("left out of the second alone", left_out(self.b, self.a)));
        lists
    }

    fn json(&self) -> Value {
        let side = |m: &Manifest| {
            json!({
                "id": m.id, "database": m.source.database, "taken_at": m.taken_at, "kind": m.kind, "totals": m.totals,
                "postgres_version": m.source.server_version, "schema_digest": m.schema_digest, "filter": m.options.filter,
            })
        };
        let names =
            |list: &[(String, u64)]| list.iter().map(|(n, r)| json!({ "table": n, "rows": r })).collect::<Vec<_>>();
        let others = self.others.iter().map(|(title, lines)| ((*title).to_owned(), json!(lines)));
        json!({
            "one": side(self.a), "other": side(self.b),
            "equal": self.differ() == 0 && self.same_schema() && self.others.is_empty(),
            "tables": {
                "equal": self.equal, "only_in_one": names(&self.only_a), "only_in_other": names(&self.only_b),
                "changed": self.changed.iter().map(Changed::json).collect::<Vec<_>>(),
            },
            "schema": { "equal": self.same_schema(), "differences": self.entries },
            "others": others.collect::<serde_json::Map<_, _>>(),
        })
    }
}

fn tables_differ(number: usize) -> String {
    if number == 1 { "1 table differs".to_owned() } else { format!("{} tables differ", count(number as u64)) }
}

/// Both values and by how much the second is more or less: `1,000, then 1,200 (+20.0 %)`.
fn pair(a: u64, b: u64, show: impl Fn(u64) -> String) -> String {
    let change = match a {
        _ if a == b => return show(a),
        0 => String::new(),
        _ => format!(" ({:+.1} %)", (b as f64 / a as f64 - 1.0) * 100.0),
    };
    format!("{}, then {}{change}", show(a), show(b))
}

fn columns(a: &Table, b: &Table) -> Vec<String> {
    let only = |x: &Table, y: &Table, what: &str| -> Vec<String> {
        x.columns.iter().filter(|c| !y.columns.contains(c)).map(|c| format!("column {c} {what}")).collect()
    };
    let mut lines = [only(a, b, "gone"), only(b, a, "new")].concat();
    if lines.is_empty() && a.columns != b.columns {
        lines.push("columns in another order".into());
    }
    lines
}

/// Extensions, roles, sequences, materialized views and large objects that came, went or changed.
fn named(a: &Manifest, b: &Manifest) -> Vec<(&'static str, Vec<String>)> {
    let extensions = |m: &Manifest| m.extensions.iter().map(|e| (e.name.clone(), e.version.clone())).collect();
    let roles = |m: &Manifest| m.roles.iter().map(|r| (r.name.clone(), String::new())).collect();
    let name = |schema: &str, name: &str| format!("{schema}.{name}");
    let sequences =
        |m: &Manifest| m.sequences.iter().map(|s| (name(&s.schema, &s.name), s.last_value.to_string())).collect();
    let matviews = |m: &Manifest| {
        let state = |populated| if populated { "with data" } else { "without data" }.to_owned();
        m.matviews.iter().map(|v| (name(&v.schema, &v.name), state(v.populated))).collect()
    };
    // Each by itself in format 1, else by their ranges: what is not the same there may be any of them.
    let large = |m: &Manifest| {
        let each = m.large_objects.iter().map(|o| (o.oid.to_string(), o.sha256.clone()));
        let ranges = m.large_object_chunks.iter().map(|c| match c.first == c.last {
            true => (c.first.to_string(), c.fingerprint.clone()),
            false => (format!("{} to {} ({})", c.first, c.last, count(c.objects)), c.fingerprint.clone()),
        });
        each.chain(ranges).collect()
    };
    [
        ("extensions", changes(&extensions(a), &extensions(b))),
        ("roles", changes(&roles(a), &roles(b))),
        ("sequences", changes(&sequences(a), &sequences(b))),
        ("materialized views", changes(&matviews(a), &matviews(b))),
        ("large objects", changes(&large(a), &large(b))),
    ]
    .into_iter()
    .filter(|(_, lines)| !lines.is_empty())
    .collect()
}

fn changes(a: &BTreeMap<String, String>, b: &BTreeMap<String, String>) -> Vec<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let line = |name: &String| match (a.get(name), b.get(name)) {
        (Some(_), None) => Some(format!("{name}: {ONLY_ONE}")),
        (None, Some(_)) => Some(format!("{name}: {ONLY_OTHER}")),
        (Some(was), Some(is)) if was != is && was.len().max(is.len()) < 60 => Some(format!("{name}: {was}, then {is}")),
        (Some(was), Some(is)) if was != is => Some(format!("{name}: content differs")),
        _ => None,
    };
    names.into_iter().filter_map(line).collect()
}
