//! Looks at everything in the scope and decides. Changes nothing.

use super::retention::{self, Candidate, IN_FLIGHT, Plan, Proven, Retention};
use crate::{
    error::{Error, Kind, Result},
    sign::PublicKeys,
    store::{Lock, Locking, Store, Unfinished},
    vault::{
        BackupKind, Manifest, Stored,
        find::scan,
        folder_name,
        read::{HEAD, Known, known, last_proof, last_proof_of, lock_of, signed},
    },
};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use time::OffsetDateTime;

/// Objects that are read at a time.
const READS: usize = 16;

/// Which backups are looked at.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Only this database's; without it every database's.
    pub database: Option<&'a str>,
    /// Only of this kind.
    pub kind: Option<BackupKind>,
    /// Only what one of these keys signed counts as proven.
    pub trusted: Option<&'a PublicKeys>,
}

/// What lies there, and what is to be done about it. Nothing was touched yet.
#[derive(Debug)]
pub struct Survey {
    /// What the rule says about each backup.
    pub plan: Plan,
    /// What looks like a backup but is not certainly one of ours: it stays. A line each.
    pub strangers: Vec<String>,
    /// Folders without a manifest that no run can still be writing.
    pub leftovers: Vec<Stored>,
    /// Uploads that no run can still be sending.
    pub uploads: Vec<Unfinished>,
    /// Folders without a manifest that the store holds back. A line each.
    pub held: Vec<String>,
    /// What could not be looked at.
    pub warnings: Vec<String>,
    /// The backups by their folders.
    pub(super) stored: HashMap<String, Stored>,
}

/// Looks at everything in the scope and decides. Changes nothing.
pub async fn survey(
    store: &Arc<dyn Store>,
    scope: Scope<'_>,
    retention: &Retention,
    now: OffsetDateTime,
) -> Result<Survey> {
    let (mut strangers, mut warnings) = (Vec::new(), Vec::new());
    let mut found = scan(store, scope.database).await?;
    found.retain(|s| scope.kind.is_none_or(|kind| s.kind == kind));
    found.retain(|s| {
        let ours = s.is_exact();
        if !ours {
            strangers.push(format!("{}: savepoint writes this database's name in another way", store.uri(&s.folder)));
        }
        ours
    });
    let (committed, unfinished): (Vec<Stored>, Vec<Stored>) = found.into_iter().partition(Stored::committed);
    let (leftovers, uploads) = match leftovers(store, scope, unfinished, now).await {
        Ok(old) => old,
        Err(e) => {
            warnings.push(format!("unfinished backups were not swept: {}", e.one_line()));
            (Vec::new(), Vec::new())
        }
    };

    let mut ours = Vec::new();
    let mut checks = stream::iter(committed)
        .map(|stored| async move { Ok::<_, Error>((known(store, &stored, HEAD).await?, stored)) })
        .buffered(READS);
    while let Some((known, stored)) = checks.try_next().await? {
        match known {
            Known::Ours => ours.push(stored),
            Known::Gone => {}
            Known::Another(why) | Known::Stranger(why) => {
                strangers.push(format!("{}: {why}", store.uri(&stored.folder)));
            }
        }
    }
    drop(checks);

    let proofs = proofs(store, &ours, scope.trusted, now).await?;
    let locks = Locks::of(store).await;
    let (leftovers, held) = locks.sift(leftovers, now).await?;
    let mut locked: HashMap<String, Option<String>> = HashMap::new();
    let mut stored: HashMap<String, Stored> = ours.into_iter().map(|s| (s.folder.clone(), s)).collect();
    let mut examined = BTreeSet::new();
    loop {
        let candidates = stored
            .values()
            .map(|s| Candidate { locked: locked.get(&s.folder).cloned().flatten(), ..candidate(s, &proofs) });
        let candidates = candidates.collect();
        let plan = retention::plan(candidates, retention, now)?;
        // What is to go is read whole before: only what is a backup of ours in every byte may be deleted.
        let going: Vec<&Stored> = plan.removed().filter_map(|c| stored.get(&c.folder())).collect();
        let unread = going.into_iter().filter(|s| s.manifest_size() > HEAD && !examined.contains(&s.folder));
        let read: Vec<(String, Known)> = stream::iter(unread.cloned().collect::<Vec<_>>())
            .map(|s| async move { Ok::<_, Error>((s.folder.clone(), known(store, &s, u64::MAX).await?)) })
            .buffered(4)
            .try_collect()
            .await?;
        let going = plan.removed().filter_map(|c| stored.get(&c.folder()));
        let unasked: Vec<Stored> = going.filter(|s| !locked.contains_key(&s.folder)).cloned().collect();
        if read.is_empty() && (unasked.is_empty() || !locks.may_be) {
            return Ok(Survey { plan, strangers, leftovers, uploads, held, warnings, stored });
        }
        for (folder, known) in read {
            match known {
                Known::Ours => {}
                Known::Gone => drop(stored.remove(&folder)),
                Known::Another(why) | Known::Stranger(why) => {
                    strangers.push(format!("{}: {why}", store.uri(&folder)));
                    stored.remove(&folder);
                }
            }
            examined.insert(folder);
        }
        locked.extend(locks.ask(unasked, now).await?);
    }
}

/// What the store holds back.
struct Locks<'a> {
    store: &'a Arc<dyn Store>,
    /// Where the store knows no locks, nothing more is asked.
    may_be: bool,
}

impl<'a> Locks<'a> {
    async fn of(store: &'a Arc<dyn Store>) -> Self {
        Locks { store, may_be: !store.locking().await.is_ok_and(|locking| locking == Locking::Off) }
    }

    /// The lock of each backup, in words, by its folder.
    async fn ask(&self, backups: Vec<Stored>, now: OffsetDateTime) -> Result<Vec<(String, Option<String>)>> {
        let asked = backups.into_iter().filter(|_| self.may_be).map(|stored| async move {
            let seen = self.store.lock(&stored.manifest_key()).await?;
            let recorded = match seen.retention {
                Some(_) if seen.legal_hold.is_some() => None,
                _ => match lock_of(self.store, &stored).await {
                    Err(e) if e.kind() == Kind::NotFound => None,
                    lock => lock?,
                },
            };
            let lock = seen.over(recorded).filter(|lock| lock.holds(now));
            Ok((stored.folder, lock.map(|lock| lock.line())))
        });
        let asked: Vec<_> = asked.collect();
        stream::iter(asked).buffered(READS).try_collect().await
    }

    /// The leftovers that can be swept, and a line for each that is held. All objects of a run are locked until the same time, or, by a
    /// rule of the bucket, the last one for longest.
    async fn sift(&self, leftovers: Vec<Stored>, now: OffsetDateTime) -> Result<(Vec<Stored>, Vec<String>)> {
        let asked = leftovers.into_iter().map(|stored| async move {
            let last = stored.objects.iter().max_by_key(|o| o.modified).filter(|_| self.may_be);
            let lock = match last {
                Some(last) => self.store.lock(&last.key).await?.over(None).filter(|lock| lock.holds(now)),
                None => None,
            };
            Ok::<_, Error>((stored, lock))
        });
        let asked: Vec<_> = asked.collect();
        let asked: Vec<(Stored, Option<Lock>)> = stream::iter(asked).buffered(READS).try_collect().await?;
        let (mut free, mut held) = (Vec::new(), Vec::new());
        for (stored, lock) in asked {
            match lock {
                None => free.push(stored),
                Some(lock) => {
                    held.push(format!("{}: no backup, locked {}", self.store.uri(&stored.folder), lock.line()))
                }
            }
        }
        Ok((free, held))
    }
}

fn candidate(stored: &Stored, proofs: &HashMap<String, Proven>) -> Candidate {
    let key = stored.manifest_key();
    let manifest = stored.objects.iter().find(|o| o.key == key);
    let unread = if stored.proofs().next().is_some() { Proven::Unknown } else { Proven::Never };
    Candidate {
        id: stored.id.clone(),
        database: stored.database.clone(),
        kind: stored.kind,
        at: stored.at,
        stored: manifest.map_or(stored.at, |o| o.modified),
        proven: proofs.get(&stored.folder).copied().unwrap_or(unread),
        locked: None,
    }
}

/// What broken-off runs left, older than any run that may still go on.
async fn leftovers(
    store: &Arc<dyn Store>,
    scope: Scope<'_>,
    mut unfinished: Vec<Stored>,
    now: OffsetDateTime,
) -> Result<(Vec<Stored>, Vec<Unfinished>)> {
    let limit = now.saturating_sub(IN_FLIGHT);
    let prefix = scope.database.map(|name| format!("{}/", folder_name(name))).unwrap_or_default();
    // Only uploads to the folder of a backup: others may share the bucket.
    let ours = |upload: &Unfinished| {
        Stored::of_key(&upload.key).filter(|s| s.is_exact() && scope.kind.is_none_or(|kind| s.kind == kind))
    };
    let uploads = store.uploads(&prefix).await?;
    let uploads: Vec<(Stored, Unfinished)> = uploads.into_iter().filter_map(|u| Some((ours(&u)?, u))).collect();
    let young: BTreeSet<&str> =
        uploads.iter().filter(|(_, u)| u.begun > limit).map(|(s, _)| s.folder.as_str()).collect();
    unfinished.retain(|s| {
        s.at <= limit && s.objects.iter().all(|o| o.modified <= limit) && !young.contains(s.folder.as_str())
    });
    let old = uploads.iter().filter(|(s, u)| u.begun <= limit && s.at <= limit).map(|(_, u)| u.clone()).collect();
    Ok((unfinished, old))
}

/// Whether each file of a manifest lies there in its size, as far as the listing says.
fn lies(stored: &Stored, manifest: &Manifest) -> bool {
    let there: HashMap<&str, u64> = stored.objects.iter().map(|o| (o.key.as_str(), o.size)).collect();
    let lies = |path: &str, size| there.get(format!("{}{path}", stored.folder).as_str()) == Some(&size);
    manifest.stored_files().all(|file| lies(&file.path, file.size))
}

/// Whether the manifest that lies there is the one that was proven, and its files lie there.
async fn intact(store: &Arc<dyn Store>, stored: &Stored) -> Result<bool> {
    let of = signed(store, stored, None).await?;
    Ok(last_proof_of(store, stored, &of, None).await?.is_some() && lies(stored, &of.manifest))
}

/// What is known of one backup. With `trusted` its manifest and its last record must be signed. `found`: a newer one is proven, and only
/// whether this one counts at all is asked; `None`: it does.
async fn judge(
    store: &Arc<dyn Store>,
    stored: &Stored,
    trusted: Option<&PublicKeys>,
    found: bool,
) -> Result<Option<Proven>> {
    let of = match trusted {
        None => None,
        Some(_) => match signed(store, stored, trusted).await {
            Ok(_) if found => return Ok(None),
            Ok(of) => Some(of),
            Err(e) if e.kind() == Kind::Archive => return Ok(Some(Proven::Nothing)),
            Err(e) if e.kind() == Kind::NotFound => return Ok(Some(Proven::Unknown)),
            Err(e) => return Err(e),
        },
    };
    let last = match &of {
        None => last_proof(store, stored).await,
        Some(of) => last_proof_of(store, stored, of, trusted).await,
    };
    Ok(Some(match last {
        Ok(None) => Proven::Never,
        Ok(Some(proof)) if proof.backup_id != stored.id => Proven::Unknown,
        Ok(Some(proof)) if proof.proves_a_restore() => {
            let intact = match &of {
                Some(of) => Ok(lies(stored, &of.manifest)),
                None => intact(store, stored).await,
            };
            match intact {
                Ok(true) => Proven::Yes,
                Ok(false) => Proven::Nothing,
                Err(e) if matches!(e.kind(), Kind::Archive | Kind::NotFound) => Proven::Nothing,
                Err(e) => return Err(e),
            }
        }
        Ok(Some(_)) => Proven::No,
        // Damaged, or gone with its backup.
        Err(e) if matches!(e.kind(), Kind::Archive | Kind::NotFound) => Proven::Unknown,
        Err(e) => return Err(e),
    }))
}

/// How the last proof of each backup ended, as far as it needs to be known: of each group from the newest down to one that passed.
async fn proofs(
    store: &Arc<dyn Store>,
    ours: &[Stored],
    trusted: Option<&PublicKeys>,
    now: OffsetDateTime,
) -> Result<HashMap<String, Proven>> {
    let mut groups: BTreeMap<(&str, &str), Vec<&Stored>> = BTreeMap::new();
    for stored in ours.iter().filter(|s| s.at <= now) {
        groups.entry((&stored.database, stored.kind.name())).or_default().push(stored);
    }
    let groups = groups.into_values().map(|mut group| async move {
        group.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        let mut read = Vec::new();
        let mut found = false;
        for stored in group {
            let Some(proven) = judge(store, stored, trusted, found).await? else { continue };
            read.push((stored.folder.clone(), proven));
            found |= proven == Proven::Yes;
            if found && trusted.is_none() {
                break;
            }
        }
        Ok(read)
    });
    let groups: Vec<_> = groups.collect();
    let read: Vec<Vec<(String, Proven)>> = stream::iter(groups).buffered(READS).try_collect().await?;
    Ok(read.into_iter().flatten().collect())
}
