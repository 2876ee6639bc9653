//! A backup's folder in a listing.

use super::{BackupKind, MANIFEST, folder_name, is_id};
use crate::store::ObjectInfo;
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};

/// A backup's folder, as the destination's listing shows it; nothing of it was read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Database name.
    pub database: String,
    /// Id.
    pub id: String,
    /// Why it was taken.
    pub kind: BackupKind,
    /// The moment that the id names, by the clock of the machine that took it; whole seconds.
    pub at: OffsetDateTime,
    /// `<database>/<YYYY>/<MM>/<DD>/<id>/`
    pub folder: String,
    /// Every object in it, in order of the keys.
    pub objects: Vec<ObjectInfo>,
}

impl Stored {
    /// The folder of a key below it; `None` when the key is not one of ours
    /// (`<database>/<YYYY>/<MM>/<DD>/<id>/…`, see `docs/format.md`).
    pub fn of_key(key: &str) -> Option<Stored> {
        let mut parts = key.splitn(6, '/');
        let (database, day) = (parts.next()?, [parts.next()?, parts.next()?, parts.next()?]);
        let (id, rest) = (parts.next()?, parts.next()?);
        let stamp = id.get(..16).filter(|_| is_id(id))?;
        if rest.is_empty() || stamp.get(..8)? != day.concat() {
            return None;
        }
        let at =
            PrimitiveDateTime::parse(stamp, format_description!("[year][month][day]T[hour][minute][second]Z")).ok()?;
        let kind = id.get(17..id.len() - 8)?;
        Some(Stored {
            database: percent_encoding::percent_decode_str(database).decode_utf8().ok()?.into_owned(),
            id: id.to_owned(),
            kind: BackupKind::ALL.into_iter().find(|k| k.name() == kind)?,
            at: at.assume_utc(),
            folder: key.get(..key.len() - rest.len())?.to_owned(),
            objects: Vec::new(),
        })
    }

    /// True when it has a manifest: without one it is no backup, but what is left of a run, or one that is going on.
    pub fn committed(&self) -> bool {
        self.objects.iter().any(|o| o.key.strip_prefix(&self.folder) == Some(MANIFEST))
    }

    /// Key of its manifest.
    pub fn manifest_key(&self) -> String {
        format!("{}{MANIFEST}", self.folder)
    }

    /// Bytes of its manifest; 0 without one.
    pub fn manifest_size(&self) -> u64 {
        let key = self.manifest_key();
        self.objects.iter().find(|o| o.key == key).map_or(0, |o| o.size)
    }

    /// Whether the folder is the one that a backup of this database would go to, and not another way to write its name.
    pub fn is_exact(&self) -> bool {
        self.folder.split('/').next() == Some(&folder_name(&self.database))
    }

    /// Bytes of all its objects.
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|o| o.size).sum()
    }

    /// Keys of its proof records, the newest last.
    pub fn proofs(&self) -> impl DoubleEndedIterator<Item = &str> {
        let is_proof = |key: &&str| {
            key.strip_prefix(self.folder.as_str()).is_some_and(|k| k.starts_with("proofs/") && k.ends_with(".json"))
        };
        self.objects.iter().map(|o| o.key.as_str()).filter(is_proof)
    }
}
