//! Which entries of an archive a partial restore takes.

use crate::{
    archive::toc::{Entry, Toc, lossy, section},
    dump::pattern,
    error::{Error, Kind, Result},
    postgres::{answer, connect::Session},
    vault::Filter,
};
use std::collections::{BTreeMap, BTreeSet};

/// A part of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Ids of the entries.
    pub entries: BTreeSet<i32>,
    /// What the user should know about it.
    pub notices: Vec<String>,
}

fn is_relation(e: &Entry) -> bool {
    matches!(e.kind(), "TABLE" | "VIEW" | "MATERIALIZED VIEW" | "SEQUENCE" | "FOREIGN TABLE")
}

/// The entries that `filter` names, with what belongs to them and what they need. Patterns are pg_dump's; one without a schema
/// matches in every schema. The server matches them, as it does for pg_dump.
pub async fn select(session: &Session, toc: &Toc, filter: &Filter) -> Result<Selection> {
    let by_table = !filter.tables.is_empty();
    let mut candidates: Vec<(&Entry, String, String)> = Vec::new();
    for entry in &toc.entries {
        match entry.kind() {
            _ if by_table && is_relation(entry) => {
                candidates.push((entry, lossy(&entry.namespace), lossy(&entry.tag)));
            }
            // Whether these can come along depends on what else does.
            "FK CONSTRAINT" | "PUBLICATION TABLE" => {}
            _ if by_table => {}
            "SCHEMA" => candidates.push((entry, lossy(&entry.tag), String::new())),
            _ if entry.namespace.as_deref().is_some_and(|n| !n.is_empty()) => {
                candidates.push((entry, lossy(&entry.namespace), lossy(&entry.tag)));
            }
            _ => {}
        }
    }
    let patterns = if by_table { &filter.tables } else { &filter.schemas };
    let mut seeds = BTreeSet::new();
    // Each by itself: a name that was mistyped must not be lost among those that were not.
    for pattern in patterns {
        let named = vec![pattern.clone()];
        let one = match by_table {
            true => Filter { tables: named, ..Filter::default() },
            false => Filter { schemas: named, ..Filter::default() },
        };
        let found = matching(session, &candidates, &one).await?;
        if found.is_empty() {
            let what = if by_table { "tables" } else { "schemas" };
            return Err(Error::new(
                Kind::Refused,
                format!("the backup holds nothing that option {what} names by {pattern}"),
            )
            .hint("savepoint show lists its tables; patterns are pg_dump's, such as public.orders"));
        }
        seeds.extend(found);
    }
    Ok(closed(toc, seeds))
}

/// The ids of the candidates, each with its schema and name, that a filter names.
async fn matching(
    session: &Session,
    candidates: &[(&Entry, String, String)],
    filter: &Filter,
) -> Result<BTreeSet<i32>> {
    let (condition, _) = pattern::conditions(filter)?;
    // The conditions are made for the catalog: here they see the archive's names. pg_class itself is visible by any search_path.
    let sql = format!(
        "WITH e AS (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
                    WITH ORDINALITY AS e (nspname, relname, nr))
         SELECT n.nr FROM (SELECT nr, nspname FROM e) n
           JOIN (SELECT nr, relname, 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AS oid FROM e) c ON c.nr = n.nr
          WHERE {condition}"
    );
    let schemas: Vec<&str> = candidates.iter().map(|(_, schema, _)| schema.as_str()).collect();
    let names: Vec<&str> = candidates.iter().map(|(.., name)| name.as_str()).collect();
    let rows = session.query(&sql, &[&schemas, &names]).await;
    let rows = rows.map_err(|e| answer::error("cannot match the patterns of schemas and tables", e))?;
    Ok(rows.iter().map(|r| candidates[(r.get::<_, i64>(0) - 1) as usize].0.dump_id).collect())
}

/// What goes with an entry that it names as something that it needs.
fn belongs(kind: &str) -> bool {
    matches!(
        kind,
        "SEQUENCE"
            | "DEFAULT"
            | "INDEX"
            | "CONSTRAINT"
            | "CHECK CONSTRAINT"
            | "FK CONSTRAINT"
            | "TRIGGER"
            | "RULE"
            | "POLICY"
            | "ROW SECURITY"
            | "ACL"
            | "COMMENT"
            | "SECURITY LABEL"
            | "STATISTICS"
            | "SEQUENCE OWNED BY"
            | "TABLE ATTACH"
            | "INDEX ATTACH"
            | "CLUSTER"
            | "CLUSTER ON"
            | "REPLICA IDENTITY"
    )
}

/// Rows and values, which only what was named brings along.
fn is_content(kind: &str) -> bool {
    matches!(kind, "TABLE DATA" | "SEQUENCE SET" | "MATERIALIZED VIEW DATA" | "STATISTICS DATA")
}

/// Adds to `seeds` what belongs to them (rows, indexes, constraints, triggers, privileges, partitions) and what they need (schemas, types,
/// functions, sequences, extensions; other tables without their rows). Foreign keys to tables that are not taken are left out.
fn closed(toc: &Toc, seeds: BTreeSet<i32>) -> Selection {
    let by_id: BTreeMap<i32, &Entry> = toc.entries.iter().map(|e| (e.dump_id, e)).collect();
    let named = with_partitions(toc, &by_id, seeds);
    let mut closure = Closure { toc, by_id, taken: named.clone(), named, left_out: BTreeSet::new() };
    loop {
        let before = closure.taken.len();
        closure.add_needs();
        closure.add_belongings();
        if closure.taken.len() == before {
            return closure.end();
        }
    }
}

/// A partitioned table without its partitions would be empty.
fn with_partitions(toc: &Toc, by_id: &BTreeMap<i32, &Entry>, mut seeds: BTreeSet<i32>) -> BTreeSet<i32> {
    loop {
        let before = seeds.len();
        for attach in toc.entries.iter().filter(|e| e.kind() == "TABLE ATTACH") {
            let child =
                |id: &&i32| by_id.get(id).is_some_and(|e| e.tag == attach.tag && e.namespace == attach.namespace);
            if let Some(child) = attach.deps.iter().find(child)
                && attach.deps.iter().any(|id| id != child && seeds.contains(id))
            {
                seeds.insert(*child);
            }
        }
        if seeds.len() == before {
            return seeds;
        }
    }
}

/// A selection on its way to being restorable by itself.
struct Closure<'a> {
    toc: &'a Toc,
    by_id: BTreeMap<i32, &'a Entry>,
    /// What was asked for, partitions with it.
    named: BTreeSet<i32>,
    taken: BTreeSet<i32>,
    /// Foreign keys of named tables to tables that are not restored.
    left_out: BTreeSet<i32>,
}

impl Closure<'_> {
    fn kind(&self, id: &i32) -> &str {
        self.by_id.get(id).map_or("", |e| e.kind())
    }

    fn add_needs(&mut self) {
        let mut stack: Vec<i32> = self.taken.iter().copied().collect();
        while let Some(id) = stack.pop() {
            for dep in self.by_id.get(&id).map_or(&[][..], |e| &e.deps) {
                if self.by_id.contains_key(dep) && self.taken.insert(*dep) {
                    stack.push(*dep);
                }
            }
        }
    }

    fn add_belongings(&mut self) {
        for entry in &self.toc.entries {
            let may = belongs(entry.kind()) || is_content(entry.kind());
            if self.taken.contains(&entry.dump_id) || !may || !entry.deps.iter().any(|d| self.taken.contains(d)) {
                continue;
            }
            let relation = |id: &&i32| self.by_id.get(id).is_some_and(|e| is_relation(e));
            let others: Vec<&i32> = entry.deps.iter().filter(relation).collect();
            if self.is_whole(entry, &others) {
                self.taken.insert(entry.dump_id);
                self.left_out.remove(&entry.dump_id);
            } else if entry.kind() == "FK CONSTRAINT" && others.iter().any(|id| self.named.contains(id)) {
                self.left_out.insert(entry.dump_id);
            }
        }
    }

    /// Whether all that an entry is about is there; `others`: the relations that it names.
    fn is_whole(&self, entry: &Entry, others: &[&i32]) -> bool {
        // A sequence that stands for a column's default comes with its value.
        let has_rows = |id: &i32| self.named.contains(id) || self.kind(id) == "SEQUENCE";
        match (is_content(entry.kind()), others.is_empty()) {
            (true, _) => others.iter().any(|id| has_rows(id)),
            (false, false) if entry.kind() == "FK CONSTRAINT" => others.iter().all(|id| self.named.contains(id)),
            // A sequence comes along then.
            (false, false) => others.iter().all(|id| self.taken.contains(id) || self.kind(id) == "SEQUENCE"),
            (false, true) => true,
        }
    }

    fn end(mut self) -> Selection {
        // Settings of the session, without which nothing is understood.
        let settings = self.toc.entries.iter().filter(|e| e.section == section::NONE && e.namespace.is_none());
        self.taken.extend(settings.map(|e| e.dump_id));
        let mut notices = Vec::new();
        for id in &self.left_out {
            let name = self.by_id[id].name();
            notices.push(format!("left out: foreign key {name}, whose other table is not restored"));
        }
        let (taken, named) = (&self.taken, &self.named);
        let only_made = |e: &&Entry| e.kind() == "TABLE" && taken.contains(&e.dump_id) && !named.contains(&e.dump_id);
        for entry in self.toc.entries.iter().filter(only_made) {
            notices
                .push(format!("table {} is made without its rows: something that is restored needs it", entry.name()));
        }
        Selection { entries: self.taken, notices }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dump_id: i32, kind: &str, name: &str, deps: &[i32]) -> Entry {
        let (schema, tag) = name.split_once('.').map_or((None, name), |(s, t)| (Some(s), t));
        Entry {
            dump_id,
            desc: Some(kind.into()),
            tag: Some(tag.into()),
            namespace: schema.map(Into::into),
            deps: deps.to_vec(),
            section: if kind == "ENCODING" { section::NONE } else { section::PRE_DATA },
            ..Entry::default()
        }
    }

    #[test]
    fn a_table_takes_along_what_belongs_to_it_and_what_it_needs() {
        let entries = vec![
            entry(1, "ENCODING", "ENCODING", &[]),
            entry(2, "SCHEMA", "app", &[]),
            entry(3, "TYPE", "app.mood", &[2]),
            entry(4, "TABLE", "app.orders", &[2, 3]),
            entry(5, "TABLE", "app.items", &[2]),
            entry(6, "SEQUENCE", "app.orders_id_seq", &[2, 4]),
            entry(7, "DEFAULT", "app.orders id", &[4, 6]),
            entry(8, "TABLE DATA", "app.orders", &[4]),
            entry(9, "TABLE DATA", "app.items", &[5]),
            entry(10, "SEQUENCE SET", "app.orders_id_seq", &[6]),
            entry(11, "CONSTRAINT", "app.orders orders_pkey", &[4]),
            entry(12, "CONSTRAINT", "app.items items_pkey", &[5]),
            entry(13, "FK CONSTRAINT", "app.orders orders_item_fkey", &[4, 5, 12]),
            entry(14, "VIEW", "app.summary", &[4, 5]),
            entry(15, "FUNCTION", "app.touch()", &[2]),
            entry(16, "TRIGGER", "app.orders touch", &[4, 15]),
            entry(17, "TABLE", "app.log", &[2]),
            entry(18, "TABLE", "app.log_1", &[2]),
            entry(19, "TABLE ATTACH", "app.log_1", &[17, 18]),
            entry(20, "TABLE DATA", "app.log_1", &[18]),
        ];
        let toc = Toc {
            version: (1, 14, 0),
            off_size: 8,
            format: 3,
            compression: 0,
            time: [0; 7],
            dbname: None,
            server_version: None,
            dump_version: None,
            entries,
        };
        let of = |seeds: &[i32]| closed(&toc, seeds.iter().copied().collect());
        let orders = of(&[4]);
        assert_eq!(orders.entries, BTreeSet::from([1, 2, 3, 4, 6, 7, 8, 10, 11, 15, 16]));
        assert_eq!(
            orders.notices,
            ["left out: foreign key app.orders orders_item_fkey, whose other table is not restored"]
        );
        assert!(of(&[4, 5]).entries.contains(&13) && of(&[4, 5]).notices.is_empty());
        assert_eq!(of(&[17]).entries, BTreeSet::from([1, 2, 17, 18, 19, 20]), "partitions come along, with their rows");
        let view = of(&[14]);
        assert!(view.entries.contains(&4) && !view.entries.contains(&8), "{view:?}");
        assert_eq!(view.notices.len(), 2, "{view:?}");
    }
}
