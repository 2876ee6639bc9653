//! What a run leaves while it works, and how it is put right: the one place that cleans up, whoever broke the run off and wherever.
//!
//! Before the commit point (the manifest) everything that was stored goes; behind it the backup stays. The throwaway server, its folder and
//! all tasks end in any case.

use crate::cancel::Cancel;
use crate::{
    dump::sink::Sink,
    error::{Error, Kind, Result},
    preflight::Starting,
    progress::{Event, Progress},
    report::{Before, Rehearsal, StoredBackup, StoredCopy, format::counted},
    scratch::Scratch,
    store::{Lock, Store},
    vault::{MANIFEST, Proof},
    verify::server::Server,
};
use futures_util::future::join_all;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// How often at most, and how long after one another, the destination is looked at for what a broken off request left.
const LAST_LOOKS: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// The traces of a run, shared by all that works for it.
#[derive(Clone, Default)]
pub(super) struct Traces(Arc<Mutex<Left>>);

#[derive(Default)]
struct Left {
    store: Option<Arc<dyn Store>>,
    /// The key may neither list nor delete.
    put_only: bool,
    /// Where this attempt stores, and what it is storing there.
    folder: Option<String>,
    sinks: Vec<Arc<Sink>>,
    server: Option<Server>,
    /// The server on its way up. Locked while somebody waits for it.
    starting: Arc<tokio::sync::Mutex<Option<Starting>>>,
    scratch: Option<Scratch>,
    result: CameTo,
    tracker: TaskTracker,
}

/// What a run has come to so far, for the report.
#[derive(Default)]
pub(super) struct CameTo {
    /// The backup, once it is committed.
    pub committed: Option<StoredBackup>,
    /// The proof, once it ran.
    pub proof: Option<Proof>,
    /// What a migration did to the proven copy, once it was begun.
    pub rehearsal: Option<Rehearsal>,
    /// Where else it lies, or was to.
    pub copies: Vec<StoredCopy>,
    /// What is remarkable beside the backup before.
    pub anomalies: Vec<String>,
    /// How large its tables were in that.
    pub before: Option<Before>,
}

impl Traces {
    fn with<T>(&self, f: impl FnOnce(&mut Left) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the preflight opened and began.
    pub fn opened(&self, store: Arc<dyn Store>, scratch: Scratch, starting: Option<Starting>, put_only: bool) {
        self.with(|t| {
            t.put_only = put_only;
            t.store = Some(store);
            t.scratch = Some(scratch);
            t.starting = Arc::new(tokio::sync::Mutex::new(starting));
        });
    }

    /// Knows every task of the run: whoever cleans up waits until none of them works any more.
    pub fn tracker(&self) -> TaskTracker {
        self.with(|t| t.tracker.clone())
    }

    /// An attempt begins to store into this folder.
    pub fn stores_into(&self, folder: &str) {
        self.with(|t| t.folder = Some(folder.to_owned()));
    }

    /// A file is in the making.
    pub fn makes(&self, sink: Arc<Sink>) {
        self.with(|t| t.sinks.push(sink));
    }

    /// What the run has come to: noted here, so that an interrupt takes nothing of it away.
    pub fn result<T>(&self, note: impl FnOnce(&mut CameTo) -> T) -> T {
        self.with(|t| note(&mut t.result))
    }

    /// Waits for the throwaway server; at once when there is none, or when it is up already.
    pub async fn server_is_up(&self, progress: &dyn Progress) -> Result<()> {
        let starting = self.with(|t| t.starting.clone());
        let mut starting = starting.lock().await;
        if let Some(on_its_way) = starting.as_mut() {
            let server = on_its_way.up().await;
            *starting = None;
            let server = server?;
            let described = server.describe();
            let line = format!("throwaway: PostgreSQL {} ({}) is up", described.version, described.kind);
            progress.event(Event::Detail(&line));
            self.with(|t| t.server = Some(server));
        }
        Ok(())
    }

    /// Borrows the throwaway server; dropping what this returns gives it back.
    pub fn hold_server(&self) -> Held {
        Held(self.clone(), self.with(|t| t.server.take()))
    }

    /// The error of a run that was broken off.
    pub fn broken_off(&self, cancel: &Cancel) -> Error {
        let error = cancel.error();
        match self.with(|t| (t.result.committed.is_some(), t.result.rehearsal.is_some())) {
            (true, true) => error.hint("the backup is stored and proven; the rehearsal was broken off"),
            (true, false) => error.hint("the backup is stored, but not proven"),
            (false, _) => error.hint("nothing half-done is left: run it again"),
        }
    }

    /// Removes what a broken-off attempt stored, once all of its tasks have ended; the run goes on.
    pub async fn undo_attempt(&self, progress: &dyn Progress) {
        let (store, folder, sinks, tracker, put_only) = self
            .with(|t| (t.store.clone(), t.folder.take(), std::mem::take(&mut t.sinks), t.tracker.clone(), t.put_only));
        tracker.close();
        tracker.wait().await;
        tracker.reopen();
        if let (Some(store), Some(folder)) = (store, folder) {
            for line in remove_stored(&store, &folder, &sinks, put_only).await {
                progress.event(Event::Warning(&line));
            }
        }
    }

    /// Removes the throwaway server, this run's folder and, when it failed before its commit point, everything that it stored. Returns
    /// what it came to.
    pub async fn clean_up(&self, failed: bool, cancel: &Cancel, progress: &dyn Progress) -> CameTo {
        let limit = cancel.clean_up();
        let end = tokio::time::Instant::now() + limit;
        // Tasks that were broken off end at their next breath; until then they may hold the server or store another object.
        let ended = self.tracker();
        ended.close();
        if tokio::time::timeout(limit / 2, ended.wait()).await.is_err() {
            progress.event(Event::Warning(
                "a request to the destination does not end: an object of this run (savepoint-probe-… or without a manifest) may be left there",
            ));
        }
        let left = self.with(std::mem::take);
        let stored = async {
            match (left.store, left.folder) {
                (Some(store), Some(folder)) if failed && left.result.committed.is_none() => {
                    remove_stored(&store, &folder, &left.sinks, left.put_only).await
                }
                (Some(store), Some(folder)) => remove_lost(&store, &folder).await,
                _ => Vec::new(),
            }
        };
        let server = async {
            if let Some(starting) = left.starting.lock().await.take() {
                return starting.stop().await;
            }
            match left.server {
                Some(server) => server.stop().await,
                None => Vec::new(),
            }
        };
        match tokio::time::timeout_at(end, async { tokio::join!(server, stored) }).await {
            Ok((server, stored)) => server.iter().chain(&stored).for_each(|line| progress.event(Event::Warning(line))),
            Err(_) => progress.event(Event::Warning(
                "cleaning up took too long: unfinished objects of this run may be left in the destination; without a manifest they are \
                 no backup",
            )),
        }
        // The server works in this folder, so it goes last.
        if let Some(Err(e)) = left.scratch.map(Scratch::remove) {
            progress.event(Event::Warning(&e.one_line()));
        }
        left.result
    }
}

/// The throwaway server, borrowed from the traces and put back when dropped, so that whoever cleans up finds it.
pub(super) struct Held(Traces, Option<Server>);

impl Held {
    pub fn server(&mut self) -> Result<&mut Server> {
        self.1.as_mut().ok_or_else(|| Error::new(Kind::Throwaway, "the throwaway server is gone"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let server = self.1.take();
        self.0.with(|t| t.server = server);
    }
}

/// Aborts the uploads and removes the objects of a backup that was not committed, from each place; returns a line for what is left.
async fn remove_stored(store: &Arc<dyn Store>, folder: &str, sinks: &[Arc<Sink>], put_only: bool) -> Vec<String> {
    let mut left = Vec::new();
    let aborted = futures_util::future::join_all(sinks.iter().map(async |sink| (sink, sink.abort().await))).await;
    let refused: Vec<_> = aborted.into_iter().filter_map(|(sink, aborted)| Some((sink, aborted.err()?))).collect();
    let places = match store.copies() {
        Some(copies) => copies.members().into_iter().filter_map(|member| member.store).collect(),
        None => vec![store.clone()],
    };
    if put_only {
        for place in &places {
            left_of_puts(&**place, folder, refused.first().map(|(_, e)| e), &mut left).await;
        }
        return left;
    }
    for (sink, e) in refused {
        left.push(format!("an unfinished upload is left at {}: {}", store.uri(sink.key()), e.one_line()));
    }
    left.extend(join_all(places.iter().map(|place| remove_folder(&**place, folder))).await.into_iter().flatten());
    left
}

/// Removes all of a folder from one place; a line for what is left.
async fn remove_folder(store: &dyn Store, folder: &str) -> Vec<String> {
    let mut left = Vec::new();
    if let Some(lock) = store.locks() {
        left_under_lock(store, folder, &lock, &mut left).await;
        return left;
    }
    // A request that was broken off may still be carried out by the server, behind the first look.
    for look in 1..=LAST_LOOKS {
        let more = remove_listed(store, folder, &mut left).await;
        if !more && look > 1 || !left.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    left
}

/// Removes what places hold that were lost to the run before its commit point: it is no backup.
async fn remove_lost(store: &Arc<dyn Store>, folder: &str) -> Vec<String> {
    let members = store.copies().map(|copies| copies.members()).unwrap_or_default();
    let lost = members.into_iter().filter(|member| member.lost.is_some()).filter_map(|member| member.store);
    let lost: Vec<_> = lost.collect();
    join_all(lost.iter().map(|place| remove_folder(&**place, folder))).await.into_iter().flatten().collect()
}

/// A key that may only put can at most drop its own uploads.
async fn left_of_puts(store: &dyn Store, folder: &str, refused: Option<&Error>, left: &mut Vec<String>) {
    let aborted = store.abort_uploads(folder).await.map(drop);
    if let Some(e) = refused.or(aborted.as_ref().err()) {
        left.push(format!("unfinished uploads are left below {}: {}", store.uri(folder), e.one_line()));
    }
    left.push(format!(
        "objects of this run may be left below {}, as the key may not remove them: without a manifest they are no backup, and savepoint \
         prune with another key sweeps them",
        store.uri(folder)
    ));
}

/// What is locked stays. A delete would only hide it, and nobody would sweep it when its time is over.
async fn left_under_lock(store: &dyn Store, folder: &str, lock: &Lock, left: &mut Vec<String>) {
    if let Err(e) = store.abort_uploads(folder).await {
        left.push(format!("unfinished uploads may be left below {}: {}", store.uri(folder), e.one_line()));
    }
    let manifest = format!("{folder}{MANIFEST}");
    match store.list(folder).await {
        Ok(objects) if objects.is_empty() => {}
        Ok(objects) => {
            // Half a backup is no backup, so that this one is hidden.
            if objects.iter().any(|o| o.key == manifest)
                && let Err(e) = store.delete(&manifest).await
            {
                left.push(format!("{} could not be removed: {}", store.uri(&manifest), e.one_line()));
            }
            left.push(format!(
                "{} of this run stay below {}, locked {}: without a manifest they are no backup, and savepoint prune sweeps them when that \
                 has ended",
                counted(objects.len() as u64, "object"),
                store.uri(folder),
                lock.line()
            ));
        }
        Err(e) => left.push(format!("what is left below {} is unknown: {}", store.uri(folder), e.one_line())),
    }
}

/// Aborts and removes what is listed below `folder`; true when there was something, which is gone now.
async fn remove_listed(store: &dyn Store, folder: &str, left: &mut Vec<String>) -> bool {
    let mut removed = false;
    match store.abort_uploads(folder).await {
        Ok(aborted) => removed |= aborted > 0,
        Err(e) => {
            left.push(format!("unfinished uploads may be left below {}: {}", store.uri(folder), e.one_line()));
        }
    }
    match store.list(folder).await {
        Ok(objects) => {
            removed |= !objects.is_empty();
            // Should a manifest have been written after all, it goes first: half a backup is no backup.
            let keys = objects.into_iter().map(|o| o.key);
            let manifest = format!("{folder}{MANIFEST}");
            let (manifest, rest): (Vec<_>, Vec<_>) = keys.partition(|k| *k == manifest);
            let mut held = Vec::new();
            for keys in [manifest, rest].iter().filter(|keys| !keys.is_empty()) {
                for (key, e) in store.delete_many(keys).await {
                    match e.kind() {
                        Kind::Locked => held.push(e),
                        _ => left.push(format!("{} could not be removed: {}", store.uri(&key), e.one_line())),
                    }
                }
            }
            if let Some(first) = held.first() {
                let (number, folder) = (counted(held.len() as u64, "object"), store.uri(folder));
                left.push(format!("{number} of this run stay below {folder}: {}", first.one_line()));
            }
        }
        Err(e) => left.push(format!("what is left below {} is unknown: {}", store.uri(folder), e.one_line())),
    }
    removed
}
