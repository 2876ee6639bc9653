//! Finding stored backups: by folder, id, age, database and kind.

use super::{
    BackupKind, MANIFEST, Stored, folder_name, is_id,
    read::{HEAD, Known, known},
};
use crate::{
    error::{Error, Kind, Result},
    store::{self, Destination, ObjectInfo, Store},
};
use futures_util::{StreamExt, TryStreamExt, stream, stream::FuturesUnordered};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use time::OffsetDateTime;

/// Requests for a part of the listing that are under way at the same time.
const LISTINGS: usize = 16;

/// Which stored backup is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The backup.
    pub which: Which,
    /// Only backups taken before this moment.
    pub before: Option<OffsetDateTime>,
    /// Only backups of this kind.
    pub kind: Option<BackupKind>,
    /// Only backups of this database; without it, of the only one there is.
    pub database: Option<String>,
}

impl Pick {
    /// The newest backup, of the only database that has any.
    pub fn latest() -> Pick {
        Pick { which: Which::Latest, before: None, kind: None, database: None }
    }

    /// The newest backup of a database.
    pub fn latest_of(database: impl Into<String>) -> Pick {
        Pick { database: Some(database.into()), ..Pick::latest() }
    }

    /// The backup of this id.
    pub fn id(id: impl Into<String>) -> Pick {
        Pick { which: Which::Id(id.into()), ..Pick::latest() }
    }
}

/// A stored backup by its name or its age, or a file of pg_dump's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Latest,
    /// The oldest.
    Oldest,
    /// Every one.
    All,
    /// By its id.
    Id(String),
    /// A file or folder that pg_dump wrote.
    File(PathBuf),
}

/// Every folder of a backup, finished or not, in order of time; only one database's when it is named.
pub async fn scan(store: &Arc<dyn Store>, database: Option<&str>) -> Result<Vec<Stored>> {
    let prefix = database.map(|name| format!("{}/", folder_name(name))).unwrap_or_default();
    below(store, &prefix).await
}

/// As [`scan`], of everything whose key begins with a prefix.
async fn below(store: &Arc<dyn Store>, prefix: &str) -> Result<Vec<Stored>> {
    let mut found: BTreeMap<String, Stored> = BTreeMap::new();
    let mut waiting = vec![prefix.to_owned()];
    let mut running = FuturesUnordered::new();
    loop {
        while running.len() < LISTINGS
            && let Some(prefix) = waiting.pop()
        {
            running.push(part(store, prefix));
        }
        let Some(part) = running.next().await else { break };
        let (objects, folders) = part?;
        waiting.extend(folders);
        for object in objects {
            let Some(stored) = Stored::of_key(&object.key) else { continue };
            found.entry(stored.folder.clone()).or_insert(stored).objects.push(object);
        }
    }
    let mut found: Vec<Stored> = found.into_values().collect();
    found.sort_by(|a, b| (a.at, &a.id).cmp(&(b.at, &b.id)));
    Ok(found)
}

/// The objects below a prefix, or where they are more than one request can name, the folders to look into instead.
async fn part(store: &Arc<dyn Store>, prefix: String) -> Result<(Vec<ObjectInfo>, Vec<String>)> {
    if let Some(objects) = store.list_at_once(&prefix).await? {
        return Ok((objects, Vec::new()));
    }
    let depth = prefix.matches('/').count();
    if depth > 4 {
        // A backup's own folder.
        return Ok((store.list(&prefix).await?, Vec::new()));
    }
    // What else lies in the bucket is left alone.
    let digits = |name: &str, n| name.len() == n && name.bytes().all(|b| b.is_ascii_digit());
    let ours = |folder: &String| {
        let name = folder.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        match depth {
            0 => true,
            1 => digits(name, 4),
            2 | 3 => digits(name, 2),
            _ => is_id(name),
        }
    };
    Ok((Vec::new(), store.folders(&prefix).await?.into_iter().filter(ours).collect()))
}

/// Finished backups.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The backups, in order of time.
    pub backups: Vec<Stored>,
    /// A line for each folder that was passed over, as its manifest is another backup's.
    pub strangers: Vec<String>,
}

impl Found {
    /// Takes a finished folder in, unless its manifest is another backup's; true when it was taken. One whose manifest is damaged is
    /// taken: it is a backup that is lost, and whoever reads it says so.
    async fn take(&mut self, store: &Arc<dyn Store>, stored: Stored) -> Result<bool> {
        let known = known(store, &stored, HEAD).await?;
        match known {
            Known::Another(why) => {
                self.strangers.push(format!("{} is no backup: {why}", store.uri(&stored.folder)));
                return Ok(false);
            }
            Known::Gone => return Ok(false),
            Known::Ours | Known::Stranger(_) => self.backups.push(stored),
        }
        Ok(true)
    }
}

/// The newest finished backup of a database that is wanted, if there is one.
pub async fn newest(store: &Arc<dyn Store>, database: &str, wanted: impl Fn(&Stored) -> bool) -> Result<Found> {
    newest_of(store, database, wanted, 1).await
}

/// The newest finished backups of a database that are wanted, at most so many, the newest first. Looks from the newest month on, so that
/// it need not list them all.
pub async fn newest_of(
    store: &Arc<dyn Store>,
    database: &str,
    wanted: impl Fn(&Stored) -> bool,
    most: usize,
) -> Result<Found> {
    let mut found = Found::default();
    for year in store.folders(&format!("{}/", folder_name(database))).await?.iter().rev() {
        for month in store.folders(year).await?.iter().rev() {
            let days = stream::iter(store.folders(month).await?);
            let days = days.map(async |day| store.folders(&day).await).buffer_unordered(LISTINGS);
            let folders: Vec<Vec<String>> = days.try_collect().await?;
            let mut folders: Vec<Stored> =
                folders.iter().flatten().filter_map(|f| Stored::of_key(&format!("{f}{MANIFEST}"))).collect();
            folders.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
            for mut stored in folders.into_iter().filter(&wanted) {
                stored.objects = store.list(&stored.folder).await?;
                if stored.committed() && found.take(store, stored).await? && found.backups.len() >= most {
                    return Ok(found);
                }
            }
        }
    }
    Ok(found)
}

/// The folders of this id, whatever the database.
async fn of_id(store: &Arc<dyn Store>, id: &str) -> Result<Vec<Stored>> {
    let day = [id.get(..4), id.get(4..6), id.get(6..8)].map(Option::unwrap_or_default).join("/");
    let mut found = Vec::new();
    for database in store.folders("").await? {
        found.extend(below(store, &format!("{database}{day}/{id}/")).await?);
    }
    Ok(found)
}

/// The finished backups that are meant; never none. A folder whose manifest is another backup's is no backup.
///
/// # Errors
/// [`Kind::NotFound`] when there is none, [`Kind::Usage`] when the database must be named, [`Kind::Archive`] when the folder of the id
/// holds another backup's manifest.
pub async fn find(store: &Arc<dyn Store>, pick: &Pick) -> Result<Found> {
    let wanted = |s: &Stored| pick.kind.is_none_or(|k| s.kind == k) && pick.before.is_none_or(|t| s.at < t);
    let mut all = match (&pick.which, &pick.database) {
        (Which::Latest, Some(database)) => {
            let found = newest(store, database, wanted).await?;
            return if found.backups.is_empty() { Err(nothing(store, pick, &found)) } else { Ok(found) };
        }
        // An id is unique: a database's name is only there for `latest`.
        (Which::Id(id), _) => of_id(store, id).await?,
        (_, database) => scan(store, database.as_deref()).await?,
    };
    all.retain(|s| s.committed() && wanted(s));
    let mut databases: Vec<&str> = all.iter().map(|s| s.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    if databases.len() > 1 && !matches!(pick.which, Which::All | Which::Id(_)) {
        return Err(several(&databases));
    }
    if pick.which == Which::Latest {
        all.reverse();
    }
    let mut found = Found::default();
    for stored in all {
        let taken = found.take(store, stored).await?;
        if taken && matches!(pick.which, Which::Latest | Which::Oldest) {
            break;
        }
    }
    let mut databases: Vec<&str> = found.backups.iter().map(|s| s.database.as_str()).collect();
    databases.dedup();
    if databases.len() > 1 && pick.which != Which::All {
        return Err(several(&databases));
    }
    if found.backups.is_empty() { Err(nothing(store, pick, &found)) } else { Ok(found) }
}

fn several(databases: &[&str]) -> Error {
    Error::new(Kind::Usage, format!("backups of {} databases lie there", databases.len()))
        .hint(format!("name one of them by the option database: {}", databases.join(", ")))
}

/// Why nothing was found.
fn nothing(store: &Arc<dyn Store>, pick: &Pick, found: &Found) -> Error {
    if let (Which::Id(_), Some(stranger)) = (&pick.which, found.strangers.first()) {
        return Error::new(Kind::Archive, stranger.clone())
            .hint("somebody copied one backup's folder over another's: savepoint list shows what is there");
    }
    let what = match &pick.which {
        Which::Id(id) => format!("no backup {id}"),
        _ => "no backup".into(),
    };
    let of = pick.database.as_deref().map(|d| format!(" of database {d}")).unwrap_or_default();
    let kind = pick.kind.map(|k| format!(" of kind {}", k.name())).unwrap_or_default();
    let before = if pick.before.is_some() { " before that time" } else { "" };
    let strangers = found.strangers.first().map(|s| format!(" ({s})")).unwrap_or_default();
    Error::new(Kind::NotFound, format!("{what}{of}{kind}{before} lies in {}{strangers}", store.uri("")))
        .hint("savepoint list --destination … shows what is there")
}

/// A place that holds what is meant.
#[derive(Debug)]
pub struct Place {
    /// Which of several it is.
    pub destination: Destination,
    /// What lies there.
    pub store: Arc<dyn Store>,
    /// What is meant.
    pub found: Found,
    /// A line for each place before it that was passed over.
    pub passed_over: Vec<String>,
}

/// Where what is meant lies: of several places in the first that holds it, or for the newest backup, in the one that holds the newest.
///
/// # Errors
/// As [`find`] and [`open`], of the first place.
pub async fn place(destination: &Destination, pick: &Pick) -> Result<Place> {
    let (mut best, mut passed_over, mut failed) = (None::<Place>, Vec::new(), None);
    let places = destination.each();
    for destination in places {
        let looked = async {
            let store = open(&destination).await?;
            let found = find(&store, pick).await?;
            Ok::<_, Error>((store, found))
        };
        match looked.await {
            Ok((store, found)) => {
                let newest = |found: &Found| found.backups.last().map(|stored| stored.at);
                if best.as_ref().is_none_or(|best| newest(&best.found) < newest(&found)) {
                    let older = best.map(|best| format!("{}: its newest is an older one", best.destination.label()));
                    passed_over.extend(older);
                    best = Some(Place { destination, store, found, passed_over: Vec::new() });
                }
                if pick.which != Which::Latest {
                    break;
                }
            }
            Err(e) => {
                passed_over.push(format!("{}: {}", destination.label(), e.one_line()));
                failed.get_or_insert(e);
            }
        }
    }
    match (best, failed) {
        (Some(best), _) => Ok(Place { passed_over, ..best }),
        (None, Some(e)) => Err(e),
        (None, None) => Err(Error::new(Kind::NotFound, "no destination")),
    }
}

/// Opens a destination to read it. Unlike a backup, this makes no folder.
///
/// # Errors
/// [`Kind::NotFound`] when a folder is not there.
pub async fn open(destination: &Destination) -> Result<Arc<dyn Store>> {
    destination.there()?;
    store::open(destination).await
}
