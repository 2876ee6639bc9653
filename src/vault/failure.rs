//! `<database>/failures/<time>-<kind>-<random>.json`: that a run failed, for those that come later. It lies beside the years of the
//! database's backups, holds nothing of the database, and no verb needs it.

use super::{Address, BackupKind, RunContext, folder_name, is_id};
use crate::{
    error::{Error, Kind, Result},
    store::Store,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

/// The version of the format.
pub const FORMAT: u32 = 1;

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedRun {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that failed.
    pub tool_version: String,
    /// Database name.
    pub database: String,
    /// Why it ran.
    pub kind: BackupKind,
    /// When it ended (RFC 3339, UTC).
    pub at: String,
    /// The phase that it failed in.
    pub phase: String,
    /// Why, in one line. Absent where the backup was to hide its names: a message may hold one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The exit code.
    pub exit_code: u8,
    /// The id of the backup that it stored all the same, which is not proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// Git and CI context.
    pub context: RunContext,
}

/// A record's key, and what that alone says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// When the run ended; whole seconds.
    pub at: OffsetDateTime,
    /// Why it ran.
    pub kind: BackupKind,
    /// `<database>/failures/<time>-<kind>-<random>.json`
    pub key: String,
}

impl Key {
    fn of(key: &str) -> Option<Key> {
        let name = key.rsplit('/').next()?.strip_suffix(".json").filter(|name| is_id(name))?;
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let at = PrimitiveDateTime::parse(name.get(..16)?, format).ok()?.assume_utc();
        let kind = name.get(17..name.len() - 8)?;
        let kind = BackupKind::ALL.into_iter().find(|k| k.name() == kind)?;
        Some(Key { at, kind, key: key.to_owned() })
    }
}

/// The folder of a database's records.
fn folder(database: &str) -> String {
    format!("{}/failures/", folder_name(database))
}

/// Stores a record.
///
/// # Errors
/// As the store's.
pub async fn put(store: &Arc<dyn Store>, failed: &FailedRun, at: OffsetDateTime) -> Result<()> {
    let key = format!("{}{}.json", folder(&failed.database), Address::new(&failed.database, failed.kind, at).id);
    let body = serde_json::to_vec_pretty(failed)
        .map_err(|e| Error::new(Kind::Archive, "cannot write the record of the failure").because(e))?;
    store.put_new(&key, body.into()).await
}

/// The records of a database, in order of time; none of them was read yet.
///
/// # Errors
/// As the store's.
pub async fn list(store: &Arc<dyn Store>, database: &str) -> Result<Vec<Key>> {
    let objects = store.list(&folder(database)).await?;
    let mut found: Vec<Key> = objects.iter().filter_map(|object| Key::of(&object.key)).collect();
    found.sort();
    Ok(found)
}

/// Reads a record.
///
/// # Errors
/// [`Kind::Archive`] when it is none.
pub async fn read(store: &Arc<dyn Store>, key: &Key) -> Result<FailedRun> {
    let bytes = store.open(&key.key, None).await?.bytes().await?;
    let damaged =
        |e| Error::new(Kind::Archive, format!("stored file {}: it is no record of a failure", key.key)).because(e);
    serde_json::from_slice(&bytes).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_key_says_when_and_why() {
        let of = |key| Key::of(key).map(|k| (k.at, k.kind));
        let at = datetime!(2026-11-30 03:00:00 UTC);
        assert_eq!(of("app/failures/20261130T030000Z-scheduled-1a2b3c4.json"), Some((at, BackupKind::Scheduled)));
        assert_eq!(of("app/failures/20261130T030000Z-pre-restore-1a2b3c4.json"), Some((at, BackupKind::PreRestore)));
        for other in [
            "app/failures/x.json",
            "app/failures/20261130T030000Z-scheduled-1a2b3c4",
            "a/20261330T030000Z-manual-1a2b3c4.json",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
