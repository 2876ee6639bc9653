//! Where a backup lies in a destination: ids, folders, keys (see `docs/format.md`).

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, macros::format_description};

/// The name of the manifest in a backup's folder: the commit point.
pub const MANIFEST: &str = "manifest.json";

/// The name of the whole manifest of a backup whose `manifest.json` names nothing; it is encrypted.
pub const WHOLE: &str = "whole.json";

/// Why a backup is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupKind {
    /// Before a deploy.
    Snapshot,
    /// By a schedule.
    Scheduled,
    /// By hand.
    Manual,
    /// Before a restore over existing data.
    PreRestore,
}

impl BackupKind {
    /// Every kind.
    pub const ALL: [BackupKind; 4] =
        [BackupKind::Snapshot, BackupKind::Scheduled, BackupKind::Manual, BackupKind::PreRestore];

    /// The name in ids, manifests and options.
    pub fn name(self) -> &'static str {
        match self {
            BackupKind::Snapshot => "snapshot",
            BackupKind::Scheduled => "scheduled",
            BackupKind::Manual => "manual",
            BackupKind::PreRestore => "pre-restore",
        }
    }
}

/// True for `20261122T030000Z-snapshot-1a2b3c4`.
pub fn is_id(text: &str) -> bool {
    let mut parts = text.splitn(2, '-');
    let (time, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let random = rest.rsplit('-').next().unwrap_or_default();
    let stamp = |t: &str| t.len() == 16 && t.is_ascii() && &t[8..9] == "T" && t.ends_with('Z');
    stamp(time)
        && time.bytes().enumerate().all(|(n, b)| n == 8 || n == 15 || b.is_ascii_digit())
        && random.len() == 7
        && random.bytes().all(|b| b.is_ascii_hexdigit())
        && rest.len() > 8
}

/// The folder of a database's backups is its name; what could be misread in a key is percent-encoded.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// A backup's place in a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The backup's id.
    pub id: String,
    /// `<database>/<YYYY>/<MM>/<DD>/<id>/`
    pub folder: String,
}

impl Address {
    /// A new one, for a backup that shows the database at this moment; its id ends at random.
    pub fn new(database: &str, kind: BackupKind, at: OffsetDateTime) -> Address {
        let compact = at.format(format_description!("[year][month][day]T[hour][minute][second]Z")).unwrap_or_default();
        let random = uuid::Uuid::new_v4().simple().to_string();
        let id = format!("{compact}-{}-{}", kind.name(), &random[..7]);
        Address { folder: folder(database, at, &id), id }
    }
}

/// The folder of a backup: `<database>/<YYYY>/<MM>/<DD>/<id>/`.
pub fn folder(database: &str, at: OffsetDateTime, id: &str) -> String {
    let day = at.format(format_description!("[year]/[month]/[day]")).unwrap_or_default();
    format!("{}/{day}/{id}/", folder_name(database))
}

/// The name of the folder that a database's backups lie in.
pub fn folder_name(database: &str) -> String {
    let name = utf8_percent_encode(database, &PLAIN).to_string();
    // A folder of that name would be somewhere else.
    if name.chars().all(|c| c == '.') { name.replace('.', "%2E") } else { name }
}
