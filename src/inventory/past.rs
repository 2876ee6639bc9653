//! What stood before a run: the last proven backup, whether runs fail, how backups grew.

use super::rows::{self, Row};
use crate::{
    clock::{age, stamp},
    error::Result,
    progress::Phase,
    report::{
        Failing, Proven,
        overview::{Moment, Point},
    },
    store::Store,
    vault::{BackupKind, Stored, failure, find, read::last_proof},
};
use std::sync::Arc;
use time::OffsetDateTime;

/// Backups that a trend shows, and that are looked through for one that is proven.
const LAST: usize = 30;

/// The newest backup that is proven by a restore, whatever its kind.
///
/// # Errors
/// When the destination cannot be listed.
pub async fn last_proven(store: &Arc<dyn Store>, database: &str, own: Option<&str>) -> Result<Proven> {
    let found = find::newest_of(store, database, |s| Some(s.id.as_str()) != own, LAST).await?;
    for stored in &found.backups {
        if let Ok(Some(proof)) = last_proof(store, stored).await
            && proof.proves_a_restore()
        {
            return Ok(Proven::Last(moment_of(stored, OffsetDateTime::now_utc())));
        }
    }
    Ok(Proven::NoneOf(found.backups.len() as u64))
}

/// A backup and its time.
pub(super) fn moment_of(stored: &Stored, now: OffsetDateTime) -> Moment {
    Moment { id: stored.id.clone(), at: stamp(stored.at), age: age(now, stored.at) }
}

/// Whether the runs of a kind failed since the newest backup besides the run's own. A run that failed in spite of its backup left its
/// record behind that.
///
/// # Errors
/// When the destination cannot be listed.
pub async fn failing(store: &Arc<dyn Store>, database: &str, kind: BackupKind, own: Option<&str>) -> Result<Failing> {
    let mut failed = failure::list(store, database).await?;
    failed.retain(|record| record.kind == kind);
    if !failed.is_empty() {
        let before = find::newest(store, database, |s| s.kind == kind && Some(s.id.as_str()) != own).await?;
        failed.retain(|record| before.backups.iter().all(|stored| record.at > stored.at));
    }
    Ok(match failed.first() {
        Some(first) => Failing::Since {
            runs: failed.len() as u64,
            at: stamp(first.at),
            age: age(OffsetDateTime::now_utc(), first.at),
        },
        None => Failing::No,
    })
}

/// The last backups of a database and kind, the oldest first.
///
/// # Errors
/// When the destination cannot be listed.
pub async fn trend(store: &Arc<dyn Store>, database: &str, kind: BackupKind) -> Result<Vec<Point>> {
    let found = find::newest_of(store, database, |s| s.kind == kind, LAST).await?;
    let rows = rows::read_all(found.backups.into_iter().map(|stored| (0, store, stored)).collect()).await;
    Ok(rows.iter().rev().filter_map(point).collect())
}

/// The numbers of a backup, where its manifest shows them.
pub(super) fn point(row: &Row) -> Option<Point> {
    let brief = row.brief.as_ref()?;
    Some(Point {
        at: stamp(row.stored.at),
        unix: row.stored.at.unix_timestamp(),
        rows: brief.totals.rows,
        bytes: brief.totals.bytes,
        stored_bytes: row.stored.bytes(),
        seconds: brief.timings.get("total").copied(),
        restore_seconds: row.proof.as_ref().and_then(|p| p.timings.get(Phase::Restore.name())).copied(),
    })
}
