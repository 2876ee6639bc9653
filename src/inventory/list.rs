//! `savepoint list`: the stored backups, the newest first.

use super::{READS, destination_options};
use crate::{
    clock::{age, moment},
    crypt,
    error::{Error, Kind, Result},
    report::{
        format::{bytes, count, counted},
        page::{Page, Table, Verdict},
    },
    store::{Destination, Lock, Store},
    vault::{
        BackupKind, Proof, RunContext, Stored, WHOLE,
        find::{open, scan},
        manifest::Totals,
        read::{check_header, last_proof},
        receipt,
    },
};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
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

/// How a backup's last proof ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProofState {
    /// It passed.
    Passed,
    /// It did not.
    Failed,
    /// There is none.
    None,
}

/// Manifests up to this size are read whole, in bytes; of larger ones only this much at either end.
const END: u64 = 64 << 10;

/// What the list needs of a manifest.
#[derive(Debug, Deserialize)]
struct Brief {
    format: u32,
    id: String,
    tool_version: String,
    taken_at: String,
    stored_at: String,
    source: BriefSource,
    #[serde(default)]
    context: RunContext,
    options: BriefOptions,
    lock: Option<Lock>,
    totals: Totals,
}

#[derive(Debug, Deserialize)]
struct BriefSource {
    host: String,
    server_version: String,
}

#[derive(Debug, Deserialize)]
struct BriefOptions {
    compression: String,
}

/// A backup in the list.
struct Row {
    store: Arc<dyn Store>,
    /// The places that hold it, by their numbers.
    places: Vec<usize>,
    stored: Stored,
    brief: Option<Brief>,
    proof: Option<Proof>,
    /// Why it is no good backup, or its record no good record.
    damage: Vec<String>,
}

impl Row {
    fn state(&self) -> ProofState {
        match &self.proof {
            _ if !self.damage.is_empty() => ProofState::Failed,
            Some(proof) if proof.passed && !proof.level.reads_back() => ProofState::None,
            Some(proof) if proof.passed => ProofState::Passed,
            Some(_) => ProofState::Failed,
            None => ProofState::None,
        }
    }
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
    let read: Vec<Row> = stream::iter(committed.collect::<Vec<_>>())
        .map(|(n, store, stored)| read(n, store, stored))
        .buffered(READS)
        .collect()
        .await;
    let mut rows = merged(read);
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

fn database_of(folder: &str) -> Option<String> {
    percent_encoding::percent_decode_str(folder.trim_end_matches('/')).decode_utf8().ok().map(|name| name.into_owned())
}

/// What each place holds, by its number, and a line for each that does not answer.
type Opened = (Vec<(usize, Arc<dyn Store>, Vec<Stored>)>, Vec<String>);

/// Looks into every place. Of those that do not answer another one's list is no less worth.
///
/// # Errors
/// When none answers: why the first does not.
async fn opened(places: &[Destination], database: Option<&str>) -> Result<Opened> {
    let (mut opened, mut lost, mut failed) = (Vec::new(), Vec::new(), None);
    for (n, place) in places.iter().enumerate() {
        let looked = async {
            let store = open(place).await?;
            let found = scan(&store, database).await?;
            Ok::<_, Error>((n, store, found))
        };
        match looked.await {
            Ok(looked) => opened.push(looked),
            Err(e) => {
                lost.push(format!("not listed: {}: {}", place.label(), e.one_line()));
                failed = failed.or(Some(e));
            }
        }
    }
    match failed {
        Some(e) if opened.is_empty() => Err(e),
        _ => Ok((opened, lost)),
    }
}

/// One row for each backup, the newest first, with the places that hold it.
fn merged(read: Vec<Row>) -> Vec<Row> {
    let mut rows: BTreeMap<(OffsetDateTime, String, String), Row> = BTreeMap::new();
    for row in read {
        let key = (row.stored.at, row.stored.id.clone(), row.stored.folder.clone());
        match rows.get_mut(&key) {
            Some(known) => {
                known.places.extend(row.places);
                let named = |why: String| format!("{}: {why}", row.store.uri(&row.stored.folder));
                known.damage.extend(row.damage.into_iter().map(named));
            }
            None => drop(rows.insert(key, row)),
        }
    }
    rows.into_values().rev().collect()
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

async fn read(place: usize, store: &Arc<dyn Store>, stored: Stored) -> Row {
    let (brief, proof) = tokio::join!(brief(store, &stored), last_proof(store, &stored));
    let mut damage = Vec::new();
    let brief = brief.map_err(|e| damage.push(e.one_line())).ok();
    let proof = proof.unwrap_or_else(|e| {
        damage.push(e.one_line());
        None
    });
    // The listing has the sizes anyway: files that are gone or cut are seen without reading one.
    if let Some(brief) = &brief {
        let (there, named) = (archived(&stored), brief.totals.stored_bytes);
        if there < named {
            damage.push(format!("{} of its {} bytes are missing", count(named - there), count(named)));
        }
    }
    Row { store: store.clone(), places: vec![place], stored, brief, proof, damage }
}

/// Bytes of the files that the manifest names.
fn archived(stored: &Stored) -> u64 {
    let rest = |key: &str| key.strip_prefix(&stored.folder).unwrap_or_default().to_owned();
    let counts = |key: &str| {
        let name = rest(key);
        let beside = name.starts_with("proofs/") || !name.contains('/') && receipt::is_signature(&name);
        name != "manifest.json" && crypt::bare(&name) != WHOLE && !beside
    };
    stored.objects.iter().filter(|o| counts(&o.key)).map(|o| o.size).sum()
}

/// Reads what the list needs of a manifest. The frames of a large database make it many megabytes, and they stand in its middle.
async fn brief(store: &Arc<dyn Store>, stored: &Stored) -> Result<Brief> {
    let key = format!("{}manifest.json", stored.folder);
    let size = stored.objects.iter().find(|o| o.key == key).map_or(0, |o| o.size);
    let mut found = None;
    if size > 2 * END {
        let (head, tail) = tokio::try_join!(async { store.open(&key, Some(0..END)).await?.bytes().await }, async {
            store.open(&key, Some(size - END..size)).await?.bytes().await
        },)?;
        found = without_middle(&head, &tail).and_then(|ends| serde_json::from_slice(&ends).ok());
    }
    let brief: Brief = match found {
        Some(brief) => brief,
        None => {
            let bytes = store.open(&key, None).await?.bytes().await?;
            let damaged = |e| Error::new(Kind::Archive, format!("stored file {key}: it is no manifest")).because(e);
            serde_json::from_slice(&bytes).map_err(damaged)?
        }
    };
    check_header(stored, brief.format, &brief.id)?;
    Ok(brief)
}

/// The fields before the files and those from the totals on, as one object. No line break stands inside a JSON string, so a line
/// that begins with two blanks and a name is a field of the outermost object.
fn without_middle(head: &[u8], tail: &[u8]) -> Option<Vec<u8>> {
    let find = |text: &[u8], line: &[u8]| text.windows(line.len()).position(|w| w == line);
    let head = head.get(..find(head, b"\n  \"files\": [")?)?;
    let tail = tail.get(find(tail, b"\n  \"totals\": {")?..)?;
    Some([head, tail].concat())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::fixture, vault::manifest::Frame};

    #[test]
    fn a_large_manifest_is_known_by_its_ends() {
        let Some(backup) = fixture::proven().backup else { panic!("is stored") };
        let mut manifest = backup.manifest;
        // A name that looks like the end of the head.
        manifest.left_out.push("x\n  \"files\": [\n  \"totals\": {".into());
        let frame = Frame { offset: 0, length: 1, sha256: "ab".repeat(32) };
        manifest.tables[0].chunks = vec![crate::vault::manifest::Chunk {
            pages: None,
            rows: 1,
            bytes: 1,
            fingerprint: String::new(),
            frames: vec![frame; 5000],
        }];
        let end = END as usize;
        let sealed = manifest.clone().seal().expect("is JSON");
        // As earlier versions wrote it.
        let whole = serde_json::to_vec_pretty(&manifest).expect("is JSON");
        for whole in [&sealed, &whole] {
            assert!(whole.len() > 4 * end);
            let ends = without_middle(&whole[..end], &whole[whole.len() - end..]).expect("has both ends");
            assert!(ends.len() < 2 * end);
            let brief: Brief = serde_json::from_slice(&ends).expect("is a manifest");
            assert_eq!((brief.id, brief.totals), (manifest.id.clone(), manifest.totals.clone()));
        }
        // Written by another program, or cut: read whole.
        let compact = serde_json::to_vec(&manifest).expect("is JSON");
        assert!(without_middle(&compact[..end], &compact[compact.len() - end..]).is_none());
        let cut = without_middle(&whole[..end], &whole[whole.len() - 2 * end..whole.len() - end]);
        assert!(cut.is_none());
    }
}
