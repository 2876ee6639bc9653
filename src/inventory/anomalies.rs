//! What is remarkable about a backup beside the one before.

use crate::{
    error::Result,
    report::{
        Before, Size,
        format::{bytes, clean, count, counted},
        largest,
    },
    store::Store,
    vault::{Manifest, Stored, find::newest_of, manifest::Table, read::manifest},
};
use std::{collections::HashMap, sync::Arc};

/// When a backup is remarkable beside the one before of the same database and kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Percent of its rows that a table, and of its size that a backup may lose.
    pub max_drop: u32,
    /// Percent that the backup's size may grow by.
    pub max_growth: u32,
    /// End with exit code 4 when something is remarkable.
    pub fail: bool,
    /// A database without any table is a success.
    pub allow_empty: bool,
}

impl Default for Anomaly {
    fn default() -> Self {
        Self { max_drop: 50, max_growth: 300, fail: false, allow_empty: false }
    }
}

/// Tables with fewer rows may shrink as they like, but for becoming empty.
const FEW_ROWS: u64 = 100;

/// Tables with fewer rows that are named.
const FEWER_SHOWN: usize = 5;

/// Below this, in bytes, a backup is hardly more than its table of contents, and its size says nothing.
const SMALL: u64 = 64 << 10;

/// How a backup compares with the one before of the same database and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside {
    /// There is none before.
    First,
    /// The one before hides what is in it; its id.
    Hidden(String),
    /// The one before was asked for something else; its id.
    Other(String),
    /// It was asked for the same.
    Compared {
        /// What is remarkable, a line each; often nothing.
        anomalies: Vec<String>,
        /// The tables that have fewer rows, by however few: what a damaged page or a forgotten WHERE comes to.
        fewer_rows: Option<String>,
        /// How large each table of the later one was.
        before: Before,
    },
}

/// Backups that were refused one behind the other, of which more are not looked through.
const REFUSED: usize = 50;

/// Compares a backup with the newest finished one before of the same database and kind. Where it is to fail for what is remarkable, one that
/// did is no measure: a run that is only repeated must not pass.
///
/// # Errors
/// When the destination or the manifest before cannot be read.
pub async fn beside(store: &Arc<dyn Store>, now: &Manifest, limits: &Anomaly) -> Result<Beside> {
    let (kind, id) = (now.kind, now.id.as_str());
    // By the moment in the id, whose random end says nothing.
    let moment = |id: &str| id.get(..16).unwrap_or_default().to_owned();
    let this = moment(id);
    let wanted = |s: &Stored| s.kind == kind && s.id != id && moment(&s.id) <= this;
    let Some(before) = measure(store, &now.source.database, wanted, limits.fail).await? else {
        return Ok(Beside::First);
    };
    if before.hidden().is_some() {
        return Ok(Beside::Hidden(before.id));
    }
    Ok(match before.options.filter == now.options.filter {
        true => Beside::Compared {
            anomalies: anomalies(&before, now, limits),
            fewer_rows: fewer_rows(&before, now),
            before: sizes(before, now),
        },
        false => Beside::Other(before.id),
    })
}

/// The manifest of the newest backup that is wanted; `fail`: of those that were not refused.
async fn measure(
    store: &Arc<dyn Store>,
    database: &str,
    wanted: impl Fn(&Stored) -> bool,
    fail: bool,
) -> Result<Option<Manifest>> {
    // One is enough nearly always, and each costs a look at its folder.
    for most in if fail { &[1, REFUSED][..] } else { &[1] } {
        for stored in newest_of(store, database, &wanted, *most).await?.backups {
            let before = manifest(store, &stored).await?;
            if !fail || before.refused.is_empty() {
                return Ok(Some(before));
            }
        }
    }
    Ok(None)
}

/// What is remarkable: tables that are gone, emptied or have lost many rows, and a size that jumps. Both backups were asked for the same.
pub fn anomalies(before: &Manifest, now: &Manifest, limits: &Anomaly) -> Vec<String> {
    let is: HashMap<(&str, &str), &Table> =
        now.tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t)).collect();
    let mut lines = Vec::new();
    for was in &before.tables {
        let name = clean(&format!("table {}.{}", was.schema, was.name)).into_owned();
        let rows = counted(was.rows, "row");
        match is.get(&(was.schema.as_str(), was.name.as_str())) {
            None => lines.push(format!("{name} is gone; it had {rows}")),
            Some(is) if is.rows == 0 && was.rows > 0 => lines.push(format!("{name} is empty; it had {rows}")),
            Some(is) if was.rows >= FEW_ROWS && fell(was.rows, is.rows, limits.max_drop) => {
                let percent = percent(was.rows, is.rows);
                lines.push(format!(
                    "{name} has {percent} % fewer rows: {}, it had {}",
                    count(is.rows),
                    count(was.rows)
                ));
            }
            Some(_) => {}
        }
    }
    // What is stored says nothing about the data when it is compressed in another way.
    let comparable = before.options.compression == now.options.compression;
    let size = |m: &Manifest| if comparable { m.totals.stored_bytes } else { m.totals.bytes };
    let (was, is) = (size(before), size(now));
    if was.max(is) >= SMALL {
        let what = if comparable { "the backup" } else { "the content" };
        let sizes = format!("{}, it had {}", bytes(is), bytes(was));
        if fell(was, is, limits.max_drop) {
            lines.push(format!("{what} is {} % smaller: {sizes}", percent(was, is)));
        } else if was > 0 && u128::from(is) * 100 > u128::from(was) * (100 + u128::from(limits.max_growth)) {
            lines.push(format!("{what} is {} % larger: {sizes}", percent(was, is)));
        }
    }
    lines.iter_mut().for_each(|line| line.push_str(&format!(" in {}", before.id)));
    lines
}

/// The tables that have lost rows, those that lost most first.
fn fewer_rows(before: &Manifest, now: &Manifest) -> Option<String> {
    let was: HashMap<(&str, &str), u64> =
        before.tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t.rows)).collect();
    let lost = |t: &Table| {
        let was = *was.get(&(t.schema.as_str(), t.name.as_str()))?;
        Some((was.checked_sub(t.rows).filter(|lost| *lost > 0)?, was, format!("{}.{}", t.schema, t.name)))
    };
    let mut lost: Vec<(u64, u64, String)> = now.tables.iter().filter_map(lost).collect();
    lost.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
    let told =
        |(lost, was, name): &(u64, u64, String)| format!("{} lost {} of {}", clean(name), count(*lost), count(*was));
    let shown: Vec<String> = lost.iter().take(FEWER_SHOWN).map(told).collect();
    let more = lost.len().saturating_sub(FEWER_SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (!shown.is_empty()).then(|| format!("fewer rows than in {}: {}{more}", before.id, shown.join(", ")))
}

/// How large the tables were that a summary shows.
fn sizes(before: Manifest, now: &Manifest) -> Before {
    let was: HashMap<(&str, &str), &Table> =
        before.tables.iter().map(|t| ((t.schema.as_str(), t.name.as_str()), t)).collect();
    let sizes = largest(&now.tables).into_iter().filter_map(|table| {
        let was = was.get(&(table.schema.as_str(), table.name.as_str()))?;
        Some(((table.schema.clone(), table.name.clone()), Size { rows: was.rows, bytes: was.bytes }))
    });
    Before { tables: sizes.collect(), id: before.id.clone() }
}

fn fell(was: u64, is: u64, percent: u32) -> bool {
    was > is && u128::from(was - is) * 100 > u128::from(was) * u128::from(percent)
}

/// By how many percent of `was` the two differ, rounded down.
fn percent(was: u64, is: u64) -> String {
    let percent = u128::from(was.abs_diff(is)) * 100 / u128::from(was.max(1));
    count(u64::try_from(percent).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// A backup with these tables and this many stored bytes.
    fn backup(tables: &[(&str, u64)], stored_bytes: u64) -> Manifest {
        let mut manifest = fixture::proven().backup.expect("is stored").manifest;
        let table = manifest.tables[0].clone();
        manifest.tables =
            tables.iter().map(|(name, rows)| Table { name: (*name).into(), rows: *rows, ..table.clone() }).collect();
        manifest.totals.stored_bytes = stored_bytes;
        manifest.totals.bytes = stored_bytes * 4;
        manifest
    }

    #[test]
    fn rows_that_went_are_told_however_few() {
        let before = backup(&[("a", 100), ("b", 1000), ("c", 5), ("gone", 7)], 0);
        let told = fewer_rows(&before, &backup(&[("a", 99), ("b", 888), ("c", 5), ("new", 0)], 0));
        assert_eq!(
            told,
            Some(format!("fewer rows than in {}: public.b lost 112 of 1,000, public.a lost 1 of 100", before.id))
        );
        assert_eq!(fewer_rows(&before, &before), None);
        let many = |rows| {
            let names: Vec<String> = (0..9).map(|n| format!("t{n}")).collect();
            let tables: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), rows)).collect();
            backup(&tables, 0)
        };
        let told = fewer_rows(&many(2), &many(1)).expect("all lost one");
        assert!(told.ends_with("public.t4 lost 1 of 2, and 4 more"), "{told}");
    }

    #[test]
    fn cases() {
        const MIB: u64 = 1 << 20;
        let limits = |max_drop, max_growth| Anomaly { max_drop, max_growth, ..Anomaly::default() };
        let usual = limits(50, 300);
        type Side<'a> = (&'a [(&'a str, u64)], u64);
        let cases: &[(Side<'_>, Side<'_>, Anomaly, &[&str])] = &[
            // Nothing odd: growth, new tables, the very limits.
            ((&[("a", 100)], MIB), (&[("a", 100)], MIB), usual, &[]),
            ((&[("a", 100)], MIB), (&[("a", 50), ("b", 0)], MIB / 2), usual, &[]),
            ((&[("a", 100)], MIB), (&[("a", 9_000)], 4 * MIB), usual, &[]),
            ((&[], 0), (&[("a", 9_000)], 4 * MIB), usual, &[]),
            ((&[("a", 0)], MIB), (&[("a", 0)], MIB), usual, &[]),
            // Rows.
            ((&[("a", 100)], MIB), (&[("a", 49)], MIB), usual, &["a has 51 % fewer rows: 49, it had 100"]),
            ((&[("a", 99)], MIB), (&[("a", 1)], MIB), usual, &[]),
            ((&[("a", 99)], MIB), (&[("a", 0)], MIB), usual, &["a is empty; it had 99 rows"]),
            ((&[("a", 1)], MIB), (&[("a", 0)], MIB), usual, &["a is empty; it had 1 row"]),
            ((&[("a", 1000)], MIB), (&[("a", 999)], MIB), limits(0, 0), &["a has 0 % fewer rows"]),
            ((&[("a", 1000)], MIB), (&[("a", 1)], MIB), limits(100, 300), &[]),
            ((&[("a", 1000)], MIB), (&[("a", 0)], MIB), limits(100, 300), &["a is empty; it had 1,000 rows"]),
            // Tables, in the order of before.
            ((&[("a", 5), ("b", 7)], MIB), (&[("b", 0)], MIB), usual, &["a is gone; it had 5 rows", "b is empty"]),
            ((&[("a", 0)], MIB), (&[], MIB), usual, &["a is gone; it had 0 rows"]),
            // Size.
            ((&[], MIB), (&[], MIB / 2 - 1), usual, &["the backup is 50 % smaller: 512.0 KiB, it had 1.0 MiB"]),
            ((&[], MIB), (&[], 4 * MIB + 1), usual, &["the backup is 300 % larger: 4.0 MiB, it had 1.0 MiB"]),
            ((&[], 1000), (&[], 60_000), usual, &[]),
            ((&[], 70_000), (&[], 0), usual, &["the backup is 100 % smaller: 0 B, it had 68.4 KiB"]),
            ((&[], u64::MAX / 8), (&[], u64::MAX / 8), usual, &[]),
        ];
        for (n, ((before, was), (after, is), limits, expected)) in cases.iter().enumerate() {
            let (before, now) = (backup(before, *was), backup(after, *is));
            let found = anomalies(&before, &now, limits);
            assert_eq!(found.len(), expected.len(), "case {n}: {found:?}");
            for (found, expected) in found.iter().zip(*expected) {
                assert!(found.contains(expected) && found.ends_with(&before.id), "case {n}: {found}");
            }
        }
    }

    #[test]
    fn another_compression_is_no_change_of_size() {
        let before = backup(&[], 1 << 20);
        let mut now = backup(&[], 8 << 20);
        now.options.compression = "none".into();
        now.totals.bytes = before.totals.bytes;
        assert!(anomalies(&before, &now, &Anomaly::default()).is_empty());
        now.totals.bytes /= 3;
        let found = anomalies(&before, &now, &Anomaly::default());
        assert!(found[0].starts_with("the content is 66 % smaller: 1.3 MiB, it had 4.0 MiB"), "{found:?}");
    }

    #[test]
    fn a_name_cannot_leave_its_line() {
        let (before, now) = (backup(&[("a\n::error::b", 5)], 0), backup(&[], 0));
        assert!(!anomalies(&before, &now, &Anomaly::default())[0].contains('\n'));
    }
}
