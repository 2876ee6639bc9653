//! `savepoint list`: the stored backups, the newest first.

use super::{
    database_of, destination_options,
    rows::{Brief, ProofState, Row, opened, read_all},
};
use crate::{
    clock::{age, moment},
    error::Result,
    report::{
        format::{bytes, count, counted},
        page::{Page, Table, Verdict},
    },
    store::{Destination, Lock},
    vault::{BackupKind, Stored},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use time::OffsetDateTime;

/// Which backups are listed.
#[derive(Clone, Debug)]
pub struct ListConfig {
    /// Where backups lie.
    pub destination: Destination,
    /// Only this database's.
    pub database: Option<String>,
    /// Only of this kind.
    pub kind: Option<BackupKind>,
    /// Only younger ones.
    pub newer_than: Option<Duration>,
    /// Only older ones.
    pub older_than: Option<Duration>,
    /// Only those whose last proof ended so.
    pub proof: Option<ProofState>,
}

/// Every finished backup that the filters take, the newest first. A damaged one is always told of.
///
/// # Errors
/// When the destination cannot be listed; what cannot be read of a single backup stands in its line.
pub async fn list(config: &ListConfig) -> Result<Page> {
    let now = OffsetDateTime::now_utc();
    let places = config.destination.each();
    let (opened, lost) = opened(&places, config.database.as_deref()).await?;
    let (mut committed, mut unfinished) = (Vec::new(), Vec::new());
    for (n, store, found) in &opened {
        for stored in found.iter().cloned() {
            if stored.committed() { &mut committed } else { &mut unfinished }.push((*n, store, stored));
        }
    }
    let younger = |s: &Stored, than: Option<Duration>| than.is_none_or(|d| now - s.at < d);
    let older = |s: &Stored, than: Option<Duration>| than.is_none_or(|d| now - s.at > d);
    let wanted = |s: &Stored| {
        config.kind.is_none_or(|k| s.kind == k) && younger(s, config.newer_than) && older(s, config.older_than)
    };
    let total = committed.iter().map(|(.., s)| &s.folder).collect::<BTreeSet<_>>().len();
    let committed = committed.into_iter().filter(|(.., s)| wanted(s));
    let mut rows = read_all(committed.collect()).await;
    let mut damaged: Vec<String> =
        rows.iter().flat_map(|r| r.damage.iter().map(|why| format!("backup {}: {why}", r.stored.id))).collect();
    damaged.extend(lost);
    damaged.extend(opened.iter().filter_map(|(n, ..)| lacking(&rows, *n, &places)));
    rows.retain(|r| config.proof.is_none_or(|p| r.state() == p));
    unfinished.retain(|(.., s)| wanted(s));
    unfinished.sort_by(|(_, _, a), (_, _, b)| (b.at, &b.id).cmp(&(a.at, &a.id)));

    let (_, store, _) = &opened[0];
    let place = if places.len() == 1 { store.uri("") } else { config.destination.label() };
    let of = config.database.as_deref().map(|d| format!(" of database {d}")).unwrap_or_default();
    let size: u64 = rows.iter().map(|r| r.stored.bytes()).sum();
    let headline = match (total, rows.len()) {
        (0, _) => format!("no backups{of} in {place}"),
        (n, 0) => format!("none of {}{of} in {place} is what was asked for", counted(n as u64, "backup")),
        (_, n) => format!("{}{of} in {place}, {}", counted(n as u64, "backup"), bytes(size)),
    };
    let mut page = Page::new("list", headline);
    if !damaged.is_empty() {
        page.verdict = Verdict::Doubtful;
    }
    page.json = json!({
        "destination": place,
        "backups": rows.iter().map(|r| object(r, &places, now)).collect::<Vec<_>>(),
        "unfinished": unfinished.iter().map(|(_, store, s)| json!({
            "id": s.id, "database": s.database, "kind": s.kind, "uri": store.uri(&s.folder),
            "begun_at": rfc3339(s.at), "age_seconds": (now - s.at).whole_seconds(), "bytes": s.bytes(),
        })).collect::<Vec<_>>(),
    });
    page.tables.push(table(&rows, places.len(), now));
    page.warnings = damaged;
    if !unfinished.is_empty() {
        let title =
            "unfinished: a run that goes on, or what is left of one (savepoint prune sweeps what is older than 24 h)";
        let line = |s: &Stored| {
            let (age, size) = (age(now, s.at), bytes(s.bytes()));
            format!("{} of database {}: no manifest, begun {age} ago, {size}", s.id, s.database)
        };
        page.lists.push((title, unfinished.iter().map(|(.., s)| line(s)).collect()));
    }
    let options = destination_options(store, &places[0]);
    if total == 0 {
        let others: Vec<String> = match config.database {
            Some(_) => store.folders("").await?.iter().filter_map(|f| database_of(f)).collect(),
            None => Vec::new(),
        };
        if others.is_empty() {
            let command = format!("savepoint backup --database-url \"$DATABASE_URL\" {options}");
            page.commands.push(("take the first one", vec![command]));
        } else {
            page.lists.push(("folders of databases that lie there", others));
        }
    } else if rows.is_empty() {
        page.commands.push(("see them all", vec![format!("savepoint list {options}")]));
    }
    Ok(page)
}

/// What one of several places lacks, in a line.
fn lacking(rows: &[Row], place: usize, places: &[Destination]) -> Option<String> {
    let mut missing = rows.iter().filter(|row| !row.places.contains(&place)).map(|row| row.stored.id.as_str());
    let first = missing.next()?;
    let more = match missing.count() {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Some(format!("{} lacks {first}{more}: savepoint copy brings them there", places.get(place)?.label()))
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

fn table(rows: &[Row], places: usize, now: OffsetDateTime) -> Table {
    let first = rows.first().map(|r| &r.stored.database);
    let several = rows.iter().any(|r| Some(&r.stored.database) != first);
    let mut columns = vec![("id", false), ("age", true), ("kind", false)];
    if several {
        columns.push(("database", false));
    }
    columns.extend([("tables", true), ("rows", true), ("stored", true), ("PostgreSQL", false), ("proof", false)]);
    if places > 1 {
        columns.push(("copies", true));
    }
    let locked = |row: &Row| row.brief.as_ref()?.lock.as_ref().filter(|lock| lock.holds(now)).map(Lock::line);
    let any_locked = rows.iter().any(|row| locked(row).is_some());
    columns.extend(any_locked.then_some(("locked", false)));
    let cells = |row: &Row| {
        let Stored { id, kind, database, .. } = &row.stored;
        let mut cells = vec![id.clone(), age(now, row.stored.at), kind.name().to_owned()];
        if several {
            cells.push(database.clone());
        }
        let of = |value: &dyn Fn(&Brief) -> String| row.brief.as_ref().map_or_else(|| "?".to_owned(), value);
        cells.extend([
            of(&|b| count(b.totals.tables)),
            of(&|b| count(b.totals.rows)),
            bytes(row.stored.bytes()),
            of(&|b| b.source.server_version.clone()),
            proof_cell(row, now),
        ]);
        if places > 1 {
            cells.push(format!("{} of {places}", row.places.len()));
        }
        cells.extend(any_locked.then(|| locked(row).unwrap_or_default()));
        cells
    };
    Table { title: String::new(), columns, rows: rows.iter().map(cells).collect(), whole: true }
}

fn proof_cell(row: &Row, now: OffsetDateTime) -> String {
    if !row.damage.is_empty() {
        return "DAMAGED".into();
    }
    let Some(proof) = &row.proof else { return "none".into() };
    let verdict = match proof.passed {
        true if !proof.level.reads_back() => "none",
        true => "passed",
        false => "FAILED",
    };
    let ago = moment(&proof.finished_at).map(|at| format!(", {} ago", age(now, at))).unwrap_or_default();
    format!("{verdict} ({}{ago})", super::show::level(proof.level))
}

fn object(row: &Row, places: &[Destination], now: OffsetDateTime) -> Value {
    let Stored { id, database, kind, at, folder, .. } = &row.stored;
    let kind: &BackupKind = kind;
    let brief = row.brief.as_ref();
    let proof = row.proof.as_ref().map(|p| {
        json!({
            "passed": p.passed, "level": p.level, "started_at": p.started_at, "finished_at": p.finished_at,
            "differences": p.differences.len(),
        })
    });
    json!({
        "id": id, "database": database, "kind": kind, "uri": row.store.uri(folder),
        "copies": row.places.iter().filter_map(|n| Some(places.get(*n)?.label())).collect::<Vec<_>>(),
        "taken_at": brief.map_or_else(|| rfc3339(*at), |b| b.taken_at.clone()),
        "stored_at": brief.map(|b| &b.stored_at), "age_seconds": (now - *at).whole_seconds(),
        "tables": brief.map(|b| b.totals.tables), "rows": brief.map(|b| b.totals.rows),
        "bytes": brief.map(|b| b.totals.bytes), "stored_bytes": row.stored.bytes(),
        "compression": brief.map(|b| &b.options.compression), "host": brief.map(|b| &b.source.host),
        "postgres_version": brief.map(|b| &b.source.server_version), "tool_version": brief.map(|b| &b.tool_version),
        "context": brief.map(|b| &b.context), "lock": brief.and_then(|b| b.lock.as_ref()), "proof": proof, "proofs": row.stored.proofs().count(),
        "damage": row.damage,
    })
}
