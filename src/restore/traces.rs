//! What a restore does to its target, and how it is undone: the one place that cleans up, whoever broke the run off and wherever.

use super::target::{self, Maintenance};
use crate::{
    error::Result,
    postgres::{answer, connect, conninfo::Target},
    progress::{Event, Phase, Progress},
    scratch::Scratch,
};

use std::sync::{Arc, Mutex, PoisonError};

use crate::cancel::Cancel;
use tokio_util::task::TaskTracker;

/// Hands events on, and keeps what the page needs of them.
pub(super) struct Recorder {
    inner: Arc<dyn Progress>,
    kept: Mutex<(Phase, Vec<String>)>,
}

impl Recorder {
    pub fn new(inner: Arc<dyn Progress>) -> Arc<Recorder> {
        Arc::new(Recorder { inner, kept: Mutex::new((Phase::Preflight, Vec::new())) })
    }

    /// The phase that the run is at, and its warnings.
    pub fn take(&self) -> (Phase, Vec<String>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *kept, (Phase::Preflight, Vec::new()))
    }
}

impl Progress for Recorder {
    fn event(&self, event: Event<'_>) {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Started(phase) => kept.0 = phase,
                Event::Warning(text) => kept.1.push(text.into()),
                _ => {}
            }
        }
        self.inner.event(event);
    }
}

/// How what a failed restore did to the target is undone.
pub(super) enum Undo {
    /// This database is ours: drop it.
    Drop(String),
    /// The target was empty: make it so again.
    Wipe(Target),
    /// These tables were empty: make them so again.
    Truncate(Target, Vec<String>),
}

/// What must be put right when a run ends early, and what its page says in any case.
#[derive(Default)]
pub(super) struct Traces {
    pub maintenance: Option<Arc<Maintenance>>,
    pub undo: Vec<Undo>,
    pub scratch: Option<Scratch>,
    pub facts: Vec<(&'static str, String)>,
    pub backup_id: Option<String>,
    /// Label of the place that it is read from.
    pub place: Option<String>,
    /// The safety backup, which cleans up behind itself.
    pub tasks: TaskTracker,
}

pub(super) type Shared = Arc<Mutex<Traces>>;

pub(super) fn with<T>(traces: &Shared, f: impl FnOnce(&mut Traces) -> T) -> T {
    f(&mut traces.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Undoes what a failed run did to the target, and removes this run's folder.
pub(super) async fn clean_up(traces: &Shared, failed: bool, cancel: &Cancel, progress: &dyn Progress) {
    let limit = cancel.clean_up();
    if tokio::time::timeout(limit, undo(traces, failed, progress)).await.is_err() {
        progress.event(Event::Warning(
            "cleaning up took too long: a database may be left that the next restore names as unfinished",
        ));
    }
    if let Some(Err(e)) = with(traces, |t| t.scratch.take()).map(Scratch::remove) {
        progress.event(Event::Warning(&e.one_line()));
    }
}

async fn undo(traces: &Shared, failed: bool, progress: &dyn Progress) {
    let tasks = with(traces, |t| t.tasks.clone());
    tasks.close();
    tasks.wait().await;
    let (maintenance, undo) = with(traces, |t| (t.maintenance.take(), std::mem::take(&mut t.undo)));
    if !failed {
        return;
    }
    for step in undo.into_iter().rev() {
        let undone = match (&step, &maintenance) {
            (Undo::Drop(name), Some(maintenance)) => maintenance.remove(name).await,
            (Undo::Drop(_), None) => Ok(()),
            (Undo::Wipe(target), _) => target::wipe(target).await,
            (Undo::Truncate(target, tables), _) => truncate(target, tables).await,
        };
        if let Err(e) = undone {
            let what = match &step {
                Undo::Drop(name) => format!("database {name}, which this restore made, is left"),
                Undo::Wipe(target) => format!("what this restore made in {} is left", target.dbname),
                Undo::Truncate(target, _) => format!("rows that this restore wrote into {} are left", target.dbname),
            };
            progress.event(Event::Warning(&format!("{what}: {}", e.one_line())));
        }
    }
}

async fn truncate(target: &Target, tables: &[String]) -> Result<()> {
    let session = connect::connect(target, "savepoint restore").await?;
    for table in tables {
        // TRUNCATE refuses a table that a foreign key points to.
        let emptied = session.batch_execute(&format!("DELETE FROM ONLY {table}")).await;
        emptied.map_err(|e| answer::error(&format!("cannot empty table {table} again"), e))?;
    }
    Ok(())
}
