//! What became of a database's tables between two looks at it: a pure function of the two.

use super::facts::{Facts, Table};
use crate::report::rehearsal::{Changed, Fate};
use std::collections::BTreeMap;

/// Tables that changed, in the order of their names.
pub fn changed(before: &Facts, after: &Facts) -> Vec<Changed> {
    let by_name = |facts: &Facts| -> BTreeMap<String, u32> {
        facts.tables.iter().map(|(oid, table)| (table.label(), *oid)).collect()
    };
    let (had, has) = (by_name(before), by_name(after));
    let mut found = Vec::new();
    for (oid, was) in &before.tables {
        let change = match (after.tables.get(oid), has.get(&was.label())) {
            (Some(is), _) => kept(was, is),
            (None, Some(other)) => after.tables.get(other).map(|is| between(Fate::Replaced, was, is)),
            (None, None) => Some(Changed {
                table: was.label(),
                fate: Fate::Dropped,
                renamed_from: None,
                rows_before: was.rows,
                rows_after: None,
                bytes_before: was.bytes,
                columns_dropped: Vec::new(),
            }),
        };
        found.extend(change);
    }
    for (_, is) in after.tables.iter().filter(|(oid, _)| !before.tables.contains_key(oid)) {
        match had.get(&is.label()).and_then(|was| Some((after.tables.contains_key(was), before.tables.get(was)?))) {
            // In the place of one that is gone, it is told with that.
            Some((false, _)) => {}
            // In the place of one that has another name now: whoever asks for it by its name finds this one.
            Some((true, was)) => found.push(between(Fate::Replaced, was, is)),
            None => found.push(Changed {
                table: is.label(),
                fate: Fate::Added,
                renamed_from: None,
                rows_before: None,
                rows_after: is.rows,
                bytes_before: 0,
                columns_dropped: Vec::new(),
            }),
        }
    }
    found.sort_by(|a, b| a.table.cmp(&b.table));
    found
}

/// A table that is there before and after; `None` where nothing became of it.
fn kept(was: &Table, is: &Table) -> Option<Changed> {
    let fate = if was.filenode == is.filenode { Fate::Kept } else { Fate::Rewritten };
    let mut change = between(fate, was, is);
    change.renamed_from = (was.label() != is.label()).then(|| was.label());
    // By number: one that has another name now is not gone.
    change.columns_dropped = was
        .columns
        .iter()
        .filter(|(number, _)| !is.columns.contains_key(number))
        .map(|(_, name)| name.clone())
        .collect();
    let told = fate != Fate::Kept
        || change.renamed_from.is_some()
        || !change.columns_dropped.is_empty()
        || was.rows.is_some() && was.rows != is.rows;
    told.then_some(change)
}

fn between(fate: Fate, was: &Table, is: &Table) -> Changed {
    let names: Vec<&String> = is.columns.values().collect();
    Changed {
        table: is.label(),
        fate,
        renamed_from: None,
        rows_before: was.rows,
        rows_after: is.rows,
        bytes_before: was.bytes,
        columns_dropped: was.columns.values().filter(|name| !names.contains(name)).cloned().collect(),
    }
}
