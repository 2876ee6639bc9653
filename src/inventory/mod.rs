//! What a destination holds: stored backups by database, kind and time.

use crate::{
    config::{BackupKind, DiffConfig, ListConfig, Pick, ShowConfig, Which, is_id},
    error::{Error, Kind, Result},
    manifest::Proof,
    report::page::Page,
    store::{ObjectInfo, Store},
};
use std::{collections::BTreeMap, sync::Arc};
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
        let kinds = [BackupKind::Snapshot, BackupKind::Scheduled, BackupKind::Manual, BackupKind::PreRestore];
        Some(Stored {
            database: percent_encoding::percent_decode_str(database).decode_utf8().ok()?.into_owned(),
            id: id.to_owned(),
            kind: kinds.into_iter().find(|k| k.name() == kind)?,
            at: at.assume_utc(),
            folder: key.get(..key.len() - rest.len())?.to_owned(),
            objects: Vec::new(),
        })
    }

    /// True when it has a manifest: without one it is no backup, but what is left of a run, or one that is going on.
    pub fn committed(&self) -> bool {
        self.objects.iter().any(|o| o.key.strip_prefix(&self.folder) == Some("manifest.json"))
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

/// Every folder of a backup, finished or not, in order of time; only one database's when it is named.
pub async fn scan(store: &Arc<dyn Store>, database: Option<&str>) -> Result<Vec<Stored>> {
    let prefix = database.map(|name| format!("{}/", crate::backup::folder_name(name))).unwrap_or_default();
    let mut found: BTreeMap<String, Stored> = BTreeMap::new();
    for object in store.list(&prefix).await? {
        let Some(stored) = Stored::of_key(&object.key) else { continue };
        found.entry(stored.folder.clone()).or_insert(stored).objects.push(object);
    }
    let mut found: Vec<Stored> = found.into_values().collect();
    found.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(found)
}

/// The finished backups that are meant, in order of time; never an empty list.
///
/// # Errors
/// [`Kind::NotFound`] when there is none, [`Kind::Usage`] when the database must be named.
pub async fn find(store: &Arc<dyn Store>, pick: &Pick) -> Result<Vec<Stored>> {
    let mut found = scan(store, pick.database.as_deref()).await?;
    found.retain(|s| s.committed());
    if let Which::Id(id) = &pick.which {
        if pick.database.is_some() && !found.iter().any(|s| s.id == *id) {
            // An id is unique: the database's name was only there for `latest`.
            found = scan(store, None).await?;
            found.retain(|s| s.committed());
        }
        found.retain(|s| s.id == *id);
    }
    found.retain(|s| pick.kind.is_none_or(|k| s.kind == k) && pick.before.is_none_or(|t| s.at < t));
    let mut databases: Vec<&str> = found.iter().map(|s| s.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    if databases.len() > 1 && pick.which != Which::All {
        return Err(Error::new(Kind::Usage, format!("backups of {} databases lie there", databases.len()))
            .hint(format!("name one by database: {}", databases.join(", "))));
    }
    match pick.which {
        Which::Latest => found = found.split_off(found.len().saturating_sub(1)),
        Which::Oldest => found.truncate(1),
        Which::All | Which::Id(_) | Which::File(_) => {}
    }
    if found.is_empty() {
        let what = match &pick.which {
            Which::Id(id) => format!("no backup {id}"),
            _ => "no backup".into(),
        };
        let of = pick.database.as_deref().map(|d| format!(" of database {d}")).unwrap_or_default();
        let kind = pick.kind.map(|k| format!(" of kind {}", k.name())).unwrap_or_default();
        let before = if pick.before.is_some() { " before that time" } else { "" };
        let place = store.uri("");
        return Err(Error::new(Kind::NotFound, format!("{what}{of}{kind}{before} lies in {place}"))
            .hint("savepoint list --destination … shows what is there"));
    }
    Ok(found)
}

/// The newest proof record of a backup; `None` when it was never proven.
pub async fn last_proof(store: &Arc<dyn Store>, stored: &Stored) -> Result<Option<Proof>> {
    let Some(key) = stored.proofs().next_back() else { return Ok(None) };
    let bytes = store.open(key, None).await?.bytes().await?;
    let damaged = |e| Error::new(Kind::Archive, format!("stored file {key}: it is no proof record")).because(e);
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// In the making.
pub async fn list(_config: &ListConfig) -> Result<Page> {
    Err(Error::new(Kind::Refused, "not built yet"))
}

/// In the making.
pub async fn show(_config: &ShowConfig) -> Result<Page> {
    Err(Error::new(Kind::Refused, "not built yet"))
}

/// In the making.
pub async fn diff(_config: &DiffConfig) -> Result<Page> {
    Err(Error::new(Kind::Refused, "not built yet"))
}
