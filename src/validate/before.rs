//! What a manifest says of a database, as if it had been looked at.

use crate::{
    observe::{Facts, Table},
    vault::Manifest,
};
use std::collections::{BTreeMap, HashMap};

/// Tables as they were in the backup. `now`: the database's own, for what a manifest does not say: where a table of it is there, its file and
/// the numbers of its columns are taken for unchanged.
pub(super) fn before(manifest: &Manifest, now: &Facts) -> Facts {
    let by_name: HashMap<String, u32> = now.tables.iter().map(|(oid, table)| (table.label(), *oid)).collect();
    let label = |schema: &str, name: &str| format!("{schema}.{name}");
    // A database that was restored has other OIDs: a table is the one of its name then.
    let same_place = manifest.tables.iter().any(|t| by_name.get(&label(&t.schema, &t.name)) == Some(&t.oid));
    let mut tables = BTreeMap::new();
    // The numbers of those that are not there are nobody's.
    let mut nobody = u32::MAX;
    for table in &manifest.tables {
        let there = by_name.get(&label(&table.schema, &table.name)).copied();
        let oid = match there {
            _ if same_place => table.oid,
            Some(oid) => oid,
            None => {
                nobody -= 1;
                nobody
            }
        };
        let is = now.tables.get(&oid);
        let number = |name: &String| is.and_then(|is| is.columns.iter().find(|(_, n)| *n == name)).map(|(n, _)| *n);
        let columns = table
            .columns
            .iter()
            .enumerate()
            .map(|(n, name)| (number(name).unwrap_or(-1 - i16::try_from(n).unwrap_or(i16::MAX - 1)), name.clone()));
        // Of an extension's own table only some rows are the database's.
        let whole = table.condition.is_none();
        let was = Table {
            schema: table.schema.clone(),
            name: table.name.clone(),
            counts: whole,
            filenode: is.and_then(|is| is.filenode),
            bytes: table.bytes,
            rows: whole.then_some(table.rows),
            columns: columns.collect(),
        };
        tables.insert(oid, was);
    }
    Facts { tables, ..Facts::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{observe::changed, report::rehearsal::Fate};

    fn now(oid: u32, name: &str, rows: u64) -> Facts {
        let table = Table {
            schema: "public".into(),
            name: name.into(),
            counts: true,
            filenode: Some(7),
            bytes: 0,
            rows: Some(rows),
            columns: [(1, "id".to_owned())].into(),
        };
        Facts { tables: [(oid, table)].into(), ..Facts::default() }
    }

    #[test]
    fn a_restored_database_is_known_by_its_names_and_the_same_one_by_its_oids() {
        let manifest = crate::report::fixture::proven().backup.expect("is stored").manifest;
        let first = manifest.tables[0].clone();
        let manifest = Manifest { tables: vec![first.clone()], ..manifest };
        let columns: BTreeMap<i16, String> =
            first.columns.iter().enumerate().map(|(n, name)| (n as i16 + 1, name.clone())).collect();
        let with = |oid, name: &str, rows| {
            let mut facts = now(oid, name, rows);
            for table in facts.tables.values_mut() {
                (table.schema, table.columns) = (first.schema.clone(), columns.clone());
            }
            facts
        };
        for oid in [first.oid, first.oid + 100] {
            let is = with(oid, &first.name, first.rows);
            assert_eq!(changed(&before(&manifest, &is), &is), [], "{oid}");
            let is = with(oid, &first.name, first.rows - 1);
            let found = changed(&before(&manifest, &is), &is);
            assert_eq!((found.len(), found[0].fate, found[0].rows_after), (1, Fate::Kept, Some(first.rows - 1)));
        }
        let is = with(1, "other", 5);
        let found = changed(&before(&manifest, &is), &is);
        assert!(found.iter().any(|c| c.fate == Fate::Dropped && c.rows_before == Some(first.rows)), "{found:?}");
    }
}
