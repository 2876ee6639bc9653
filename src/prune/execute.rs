//! Does what a survey says: a backup's manifest goes first, so that a run that is broken off leaves no half backup.

use super::survey::Survey;
use crate::cancel::Cancel;
use crate::{
    error::{Error, Kind},
    progress::{Event, Progress},
    report::format::{count, counted},
    store::Store,
    vault::Stored,
};
use std::{collections::BTreeSet, sync::Arc};

/// Backups whose manifests, and then whose other objects, are deleted together.
const TOGETHER: usize = 250;

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Ids of the backups that are gone.
    pub deleted: Vec<String>,
    /// Bytes that were freed.
    pub freed: u64,
    /// Leftovers of broken-off runs that were removed: folders and uploads.
    pub swept: u64,
    /// What the store holds back by a lock or a retention rule of its own. A line each.
    pub held: Vec<String>,
    /// What could not be deleted.
    pub failures: Vec<Error>,
}

/// Does what a survey says.
pub async fn execute(store: &Arc<dyn Store>, survey: &Survey, progress: &dyn Progress, cancel: &Cancel) -> Done {
    let mut done = Done::default();
    let mut going: Vec<&Stored> = survey.plan.removed().filter_map(|c| survey.stored.get(&c.folder())).collect();
    // The oldest first: they are missed least, should the run be broken off.
    going.sort_by_key(|s| s.at);
    let stop = |done: &mut Done| {
        if cancel.is_cancelled() && done.failures.is_empty() {
            let cure = "run it again: what is half-deleted is no backup any more, and is swept";
            done.failures.push(cancel.error().hint(cure));
        }
        cancel.is_cancelled()
    };
    for together in going.chunks(TOGETHER) {
        if stop(&mut done) {
            return done;
        }
        let keys: Vec<String> = together.iter().map(|s| s.manifest_key()).collect();
        let left = note(store.delete_many(&keys).await, &mut done);
        let gone: Vec<&Stored> = together.iter().copied().filter(|s| !left.contains(&s.manifest_key())).collect();
        done.freed += gone.iter().map(|s| s.manifest_size()).sum::<u64>();
        done.deleted.extend(gone.iter().map(|s| s.id.clone()));
        let rest = gone.iter().flat_map(|s| s.objects.iter().filter(|o| o.key != s.manifest_key()));
        let rest: Vec<(String, u64)> = rest.map(|o| (o.key.clone(), o.size)).collect();
        remove(&**store, rest, &mut done).await;
        let said = format!("{} of {} deleted", count(done.deleted.len() as u64), counted(going.len() as u64, "backup"));
        progress.event(Event::Detail(&said));
    }
    for folder in &survey.leftovers {
        if stop(&mut done) {
            return done;
        }
        match store.list(&folder.folder).await {
            // A very long run may have come to its end meanwhile.
            Ok(objects) if objects.iter().any(|o| o.key == folder.manifest_key()) => {}
            Ok(objects) => {
                if remove(&**store, objects.into_iter().map(|o| (o.key, o.size)).collect(), &mut done).await {
                    done.swept += 1;
                }
            }
            Err(e) => done.failures.push(e),
        }
    }
    for upload in &survey.uploads {
        if stop(&mut done) {
            return done;
        }
        match store.abort_upload(upload).await {
            Ok(()) => done.swept += 1,
            Err(e) => done.failures.push(e),
        }
    }
    done
}

/// Deletes objects, given with their sizes; true when none is left.
async fn remove(store: &dyn Store, objects: Vec<(String, u64)>, done: &mut Done) -> bool {
    let keys: Vec<String> = objects.iter().map(|(key, _)| key.clone()).collect();
    let left = note(store.delete_many(&keys).await, done);
    done.freed += objects.iter().filter(|(key, _)| !left.contains(key)).map(|(_, size)| size).sum::<u64>();
    left.is_empty()
}

/// Keeps in mind why objects stay; their keys.
fn note(left: Vec<(String, Error)>, done: &mut Done) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for (key, e) in left {
        match e.kind() {
            Kind::Locked => done.held.push(e.one_line()),
            _ => done.failures.push(e),
        }
        keys.insert(key);
    }
    keys
}
