//! Preflight: the questions, and what every attempt at a dump stands on once none was answered with no.

use super::{BackupConfig, recorder::Recorder, traces::Traces};
use crate::{
    cancel::Cancel,
    crypt::Sealing,
    dump::{rate::Rate, snapshot::Looked},
    error::{Error, Kind, Result},
    postgres::{conninfo::Target, tools::Tools},
    preflight::{self, Reach, Ready},
    progress::{Event, Phase, Progress},
    report::Status,
    store::Store,
    vault::{
        Folder, VerifyLevel,
        manifest::{Extension, Source},
    },
    verify::granted_extensions,
};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

/// What every attempt at a dump stands on.
pub(super) struct Ground<'a> {
    pub config: &'a BackupConfig,
    /// The source, pinned to one address.
    pub target: Target,
    pub source: Source,
    pub extensions: Vec<Extension>,
    pub tools: Tools,
    pub store: Arc<dyn Store>,
    /// Which of several places is read, when the run begins.
    pub first: Option<usize>,
    /// Connections that the source has room for.
    pub jobs: usize,
    /// There is one connection and no other.
    pub alone: bool,
    /// Encrypts what is stored. Its key is gone when the run is.
    pub sealing: Option<Arc<Sealing>>,
    /// How fast is read at most.
    pub rate: Option<Arc<Rate>>,
    /// The server's table of locks was full in an earlier attempt.
    pub locks_are_scarce: AtomicBool,
    /// This run's folder on the local disk.
    pub scratch: PathBuf,
    /// A throwaway server is on its way up: the backup is restored while it is taken.
    pub proves: bool,
    pub progress: Arc<Recorder>,
    pub traces: Traces,
    pub cancel: Cancel,
}

impl<'a> Ground<'a> {
    /// Asks everything that is asked before anything is written. Returns the session that asked, which goes on to hold the snapshot.
    pub async fn examine(
        config: &'a BackupConfig,
        progress: Arc<Recorder>,
        traces: Traces,
        cancel: Cancel,
    ) -> Result<(Ground<'a>, Looked)> {
        let phase = progress.begin(Phase::Preflight);
        let examined = preflight::examine(config, Reach::Full, &*progress, &traces.tracker()).await;
        for check in &examined.checks {
            let line = format!("{}: {}", check.name, check.detail);
            match (check.status, check.name.as_str()) {
                (Status::Warning, preflight::HEALTH | preflight::OBJECT_LOCK) | (Status::Ok, preflight::SECRETS) => {
                    progress.event(Event::Notice(&line));
                }
                (Status::Warning, _) => progress.event(Event::Warning(&line)),
                _ => {}
            }
        }
        let ready = examined.ready.ok_or_else(|| preflight::refusal(&examined.checks))?;
        phase.end();
        let Ready { target, looked, source, extensions, tools, store, sealing, server, scratch, jobs, alone } = ready;
        let store = store.ok_or_else(|| Error::new(Kind::Store, "the destination was not opened"))?;
        let (proves, folder) = (server.is_some(), scratch.path().to_owned());
        traces.opened(store.clone(), scratch, server, config.verify == VerifyLevel::Sent);
        let ground = Ground {
            config,
            target,
            source,
            extensions,
            tools,
            first: store.copies().and_then(|copies| copies.first_intact()),
            store,
            jobs,
            alone,
            sealing,
            rate: config.max_rate.map(|rate| Arc::new(Rate::new(rate))),
            locks_are_scarce: AtomicBool::new(false),
            scratch: folder,
            proves,
            progress,
            traces,
            cancel,
        };
        Ok((ground, looked))
    }

    /// The folder of a backup in the destination.
    pub fn folder(&self, folder: &str) -> Folder {
        Folder::new(self.store.clone(), folder).telling(self.progress.clone()).sealed(self.sealing.clone())
    }

    /// The key may only put: what is sent is checked before it is, as nobody reads it back.
    pub fn sent(&self) -> bool {
        self.config.verify == VerifyLevel::Sent
    }

    /// Extensions that the archive takes for granted.
    pub fn granted(&self) -> Vec<Extension> {
        granted_extensions(&self.config.filter, &self.extensions)
    }
}
