//! What the questions learn: each from the facts that those before it learnt.

use super::{answer::Unanswered, starting::Starting};
use crate::{
    backup::BackupConfig,
    crypt::Sealing,
    dump::catalog::Relation,
    error::Result,
    postgres::{connect::Session, conninfo::Target, pooler::Direct, tools::Tools},
    progress::Progress,
    scratch::Scratch,
    store::Store,
    vault::manifest::{Extension, Source},
};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::task::TaskTracker;

/// How far the questions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything: the destination is written to and cleaned again, the throwaway server is started.
    Full,
    /// Nothing is written or started.
    Look,
}

/// Something that a question learns, once.
pub(super) struct Fact<T>(OnceLock<T>);

impl<T> Fact<T> {
    pub(super) fn learn(&self, value: T) {
        // Each has one question that learns it.
        let _ = self.0.set(value);
    }

    /// The fact, for a question that has no point without it.
    pub(super) fn get(&self) -> Result<&T, Unanswered> {
        self.0.get().ok_or(Unanswered::Pointless)
    }

    pub(super) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Default for Fact<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

/// What cannot be read of the source.
pub(super) struct Rights {
    /// All that lies in the database, each with whether it is taken and may be read.
    pub(super) relations: Vec<Relation>,
    /// Sequences that may not be read.
    pub(super) sequences: Vec<String>,
    /// Large objects that may not be read.
    pub(super) large_objects: i64,
}

impl Rights {
    /// What of it is taken for itself, not for an extension.
    pub(super) fn taken(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter().filter(|r| r.taken && !r.extension_member)
    }
}

/// What was asked for, and what is known so far. A result that is kept is judged by a later question.
pub(super) struct Facts<'a> {
    pub(super) config: &'a BackupConfig,
    pub(super) reach: Reach,
    pub(super) progress: &'a dyn Progress,
    /// Knows what is brought to its end also where the run is broken off.
    pub(super) tasks: &'a TaskTracker,
    /// Whether a question about the source was answered with no.
    refused: AtomicBool,
    /// The source, pinned to one address.
    pub(super) target: Fact<Target>,
    /// A session there; `None` where a pooler lends it its process.
    pub(super) direct: Fact<Option<Direct>>,
    /// What it is: from here on it can be spoken to.
    pub(super) source: Fact<Source>,
    pub(super) extensions: Fact<Result<Vec<Extension>>>,
    pub(super) tools: Fact<Tools>,
    /// The server for the proof. It stands before its folder, as it must be gone first.
    pub(super) server: Fact<Starting>,
    pub(super) scratch: Fact<Scratch>,
    pub(super) rights: Fact<Rights>,
    /// Connections that there is room for, the one that asks among them.
    pub(super) room: Fact<Result<usize>>,
    /// Those of them that read rows and do nothing else, up to those wanted.
    pub(super) jobs: Fact<usize>,
    /// The destination, where it may be written to.
    pub(super) store: Fact<Arc<dyn Store>>,
    /// What encrypts, where something is to be encrypted.
    pub(super) sealing: Fact<Arc<Sealing>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(
        config: &'a BackupConfig,
        reach: Reach,
        progress: &'a dyn Progress,
        tasks: &'a TaskTracker,
    ) -> Self {
        Self {
            config,
            reach,
            progress,
            tasks,
            refused: AtomicBool::new(false),
            target: Fact::default(),
            direct: Fact::default(),
            source: Fact::default(),
            extensions: Fact::default(),
            tools: Fact::default(),
            server: Fact::default(),
            scratch: Fact::default(),
            rights: Fact::default(),
            room: Fact::default(),
            jobs: Fact::default(),
            store: Fact::default(),
            sealing: Fact::default(),
        }
    }

    /// The session that asks.
    pub(super) fn session(&self) -> Result<&Session, Unanswered> {
        self.direct().map(|direct| &direct.session)
    }

    /// The session that asks, with what is known of it.
    pub(super) fn direct(&self) -> Result<&Direct, Unanswered> {
        self.direct.get()?.as_ref().ok_or(Unanswered::Pointless)
    }

    /// Whether the proof needs a server of this machine.
    pub(super) fn built_in(&self) -> bool {
        self.config.verify.restores() && self.config.verify_url.is_none()
    }

    /// Whether a question about the source was answered with no so far.
    pub(super) fn refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }
}
