//! Two schemas compared, entry by entry, by their tables of contents.

use super::{
    database::is_of_database,
    toc::{Entry, RawString, Toc, lossy},
};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};

/// What identifies a schema entry: kind, schema and name as in the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind, such as `INDEX`.
    pub desc: RawString,
    /// Schema name.
    pub namespace: RawString,
    /// Name, with arguments or table where that is part of the name.
    pub tag: RawString,
}

/// One schema object that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The object for people, such as `index public.orders_idx`.
    pub object: String,
    /// What differs, such as `missing in the restored copy` or `owner differs: app, was postgres`.
    pub what: String,
    /// The object in both archives.
    pub key: Key,
}

/// What is compared of an entry besides its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Content {
    defn: RawString,
    owner: RawString,
    tableam: RawString,
    relkind: Option<i32>,
}

/// What became of an entry of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The object for people, as in [`Difference`].
    pub object: String,
    /// Its definition before; `None`: it was not there.
    pub was: Option<String>,
    /// Its definition now; `None`: it is gone.
    pub is: Option<String>,
}

/// Compares the schema of a restored copy (`actual`) with the expected one. Ids, OIDs, dependencies, order and tablespaces are
/// left out, as are rows, sequence values, large objects, statistics, subscriptions and what belongs to the database itself.
pub fn differences(expected: &Toc, actual: &Toc) -> Vec<Difference> {
    let describe = |(key, was, is): (Key, Option<Content>, Option<Content>)| {
        let what = match (&was, &is) {
            (_, None) => "missing in the restored copy".to_owned(),
            (None, _) => "only in the restored copy".to_owned(),
            (Some(w), Some(i)) => describe(w, i),
        };
        Difference { object: object(&key), what, key }
    };
    unequal(expected, actual).into_iter().map(describe).collect()
}

/// What became of a schema between two looks at it; of what [`differences`] compares.
pub fn changes(before: &Toc, after: &Toc) -> Vec<Change> {
    let change = |(key, was, is): (Key, Option<Content>, Option<Content>)| {
        let owned = was.as_ref().zip(is.as_ref()).is_some_and(|(was, is)| was.owner != is.owner);
        let text = |content: Content| {
            let owner = if owned { format!("-- owner: {}\n", lossy(&content.owner)) } else { String::new() };
            format!("{owner}{}", lossy(&content.defn))
        };
        Change { object: object(&key), was: was.map(text), is: is.map(text) }
    };
    unequal(before, after).into_iter().map(change).collect()
}

/// The entries of two schemas that are not in both, in pairs where both have one of the key.
fn unequal(expected: &Toc, actual: &Toc) -> Vec<(Key, Option<Content>, Option<Content>)> {
    let (mut expected, mut actual) = (by_key(expected), by_key(actual));
    let keys: std::collections::BTreeSet<Key> = expected.keys().chain(actual.keys()).cloned().collect();
    let mut found = Vec::new();
    for key in keys {
        let (mut was, mut is) = (expected.remove(&key).unwrap_or_default(), actual.remove(&key).unwrap_or_default());
        // Equal ones pair up first; what is left is paired in sorted order.
        was.retain(|w| match is.iter().position(|i| i == w) {
            Some(at) => {
                is.remove(at);
                false
            }
            None => true,
        });
        for n in 0..was.len().max(is.len()) {
            found.push((key.clone(), was.get(n).cloned(), is.get(n).cloned()));
        }
    }
    found
}

/// SHA-256 (hex) over what [`differences`] compares, in sorted order: equal for equal schemas.
pub fn digest(toc: &Toc) -> String {
    let mut hash = Sha256::new();
    let mut field = |s: &RawString| match s {
        // NULL and "" differ; lengths keep fields apart.
        None => hash.update([0]),
        Some(s) => {
            hash.update([1]);
            hash.update((s.len() as u64).to_le_bytes());
            hash.update(s);
        }
    };
    for (key, contents) in by_key(toc) {
        for c in contents {
            for s in [&key.desc, &key.namespace, &key.tag, &c.defn, &c.owner, &c.tableam] {
                field(s);
            }
            field(&c.relkind.map(|k| k.to_le_bytes().to_vec()));
        }
    }
    hex::encode(hash.finalize())
}

/// Number of entries that [`differences`] compares.
pub fn count(toc: &Toc) -> usize {
    toc.entries.iter().filter(|e| is_schema(e)).count()
}

/// Those of `candidates` (all roles of the source) that the archive names: as an owner, or as a word or quoted name in any
/// definition (grants, policies, user mappings, casts to `regrole` …). Rather one too many than one too few.
pub fn role_names(toc: &Toc, candidates: &[String]) -> Vec<String> {
    let utf8 = toc.encoding().is_none_or(|e| e == "UTF8");
    let owners: HashSet<&[u8]> = toc.entries.iter().filter_map(|e| e.owner.as_deref()).collect();
    let texts = || toc.entries.iter().flat_map(|e| [e.defn.as_deref(), e.tag.as_deref()]).flatten();
    let in_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b == b'$' || *b >= 0x80;
    let words: HashSet<&[u8]> = texts().flat_map(|t| t.split(|b| !in_word(b))).collect();
    let named = |role: &String| {
        // In another encoding the bytes of a name that is not ASCII are unknown here.
        let unknown = !utf8 && !role.is_ascii();
        let plain = role.bytes().all(|b| in_word(&b));
        let quoted = || {
            let quoted = format!("\"{}\"", role.replace('"', "\"\""));
            // Within a string constant quotes are doubled.
            let constant = quoted.replace('\'', "''");
            texts().any(|t| {
                contains(t, role.as_bytes()) || contains(t, quoted.as_bytes()) || contains(t, constant.as_bytes())
            })
        };
        unknown || owners.contains(role.as_bytes()) || words.contains(role.as_bytes()) || (!plain && quoted())
    };
    candidates.iter().filter(|r| named(r)).cloned().collect()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|w| w == part)
}

fn by_key(toc: &Toc) -> BTreeMap<Key, Vec<Content>> {
    let mut map: BTreeMap<Key, Vec<Content>> = BTreeMap::new();
    for e in toc.entries.iter().filter(|e| is_schema(e)) {
        let key = Key { desc: e.desc.clone(), namespace: e.namespace.clone(), tag: e.tag.clone() };
        let content =
            Content { defn: normal(e), owner: e.owner.clone(), tableam: e.tableam.clone(), relkind: e.relkind };
        map.entry(key).or_default().push(content);
    }
    map.values_mut().for_each(|v| v.sort());
    map
}

/// Whether an entry is part of the schema that is compared.
fn is_schema(e: &Entry) -> bool {
    // The throwaway database is made by its own statement.
    if is_of_database(e) {
        return false;
    }
    match e.kind() {
        // Rows and values are compared by content.
        "TABLE DATA" | "SEQUENCE SET" | "MATERIALIZED VIEW DATA" | "STATISTICS DATA" => false,
        "BLOB" | "BLOBS" | "BLOB COMMENTS" | "BLOB METADATA" => false,
        "ENCODING" | "STDSTRINGS" | "SEARCHPATH" => false,
        // Never restored.
        "SUBSCRIPTION" | "SUBSCRIPTION TABLE" => false,
        "ACL" | "COMMENT" | "SECURITY LABEL" => {
            let tag = lossy(&e.tag);
            !["LARGE OBJECT ", "LARGE OBJECTS ", "SUBSCRIPTION "].iter().any(|p| tag.starts_with(p))
        }
        _ => true,
    }
}

/// The definition as it is compared. A restored child table may have its columns in another order than its source (the parent's
/// columns come first), so the lines of such a definition are compared as a set.
fn normal(e: &Entry) -> RawString {
    let defn = e.defn.as_deref()?;
    if e.kind() != "TABLE" || !contains(defn, b"\nINHERITS (") {
        return Some(defn.to_vec());
    }
    let mut lines: Vec<&[u8]> = defn.split(|b| *b == b'\n').map(|l| l.strip_suffix(b",").unwrap_or(l)).collect();
    lines.sort_unstable();
    Some(lines.join(&b'\n'))
}

fn describe(was: &Content, is: &Content) -> String {
    let mut what = Vec::new();
    if was.defn != is.defn {
        what.push("definition differs".to_owned());
    }
    if was.owner != is.owner {
        what.push(format!("owner differs: {}, was {}", lossy(&is.owner), lossy(&was.owner)));
    }
    if was.tableam != is.tableam {
        what.push(format!("access method differs: {}, was {}", lossy(&is.tableam), lossy(&was.tableam)));
    }
    if was.relkind != is.relkind {
        what.push("kind of relation differs".to_owned());
    }
    what.join(", ")
}

/// `index public.orders_idx`; kinds whose name stands in their tag (`ACL` on `TABLE orders`) read `acl on table public.orders`.
fn object(key: &Key) -> String {
    let desc = lossy(&key.desc);
    let tag = lossy(&key.tag);
    let schema = match key.namespace.as_deref() {
        None | Some(b"") => String::new(),
        Some(schema) => format!("{}.", String::from_utf8_lossy(schema)),
    };
    let kind = match desc.as_str() {
        "ACL" => "privileges".to_owned(),
        "DEFAULT ACL" => "default privileges".to_owned(),
        _ => desc.to_lowercase(),
    };
    // Tags such as "TABLE orders", "COLUMN orders.id", "FUNCTION f(integer)".
    let text = match (desc.as_str(), tag.rsplit_once(char::is_lowercase).is_some().then(|| split_kind(&tag)).flatten())
    {
        ("ACL" | "COMMENT" | "SECURITY LABEL", Some((of, name))) => {
            format!("{kind} on {} {schema}{name}", of.to_lowercase())
        }
        _ => format!("{kind} {schema}{tag}"),
    };
    text.replace(['\n', '\r'], " ")
}

/// Splits the upper-case words of a kind from the name behind them.
fn split_kind(tag: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    for word in tag.split_inclusive(' ') {
        if !word.trim_end().bytes().all(|b| b.is_ascii_uppercase()) || word.trim_end().is_empty() {
            break;
        }
        end += word.len();
    }
    (end > 0 && end < tag.len()).then(|| (tag[..end].trim_end(), &tag[end..]))
}
