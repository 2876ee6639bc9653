//! A backup from preflight to proof.
//!
//! ```text
//! examine ─► Ground ─► Planned ─► Taken ─► Committed ─► Proven ─► rehearsal ─► report
//!  ground     plan      dump      commit     prove     rehearsal               told
//! ```
//!
//! Each stage takes what the one before made. An attempt whose locks a migration came between is undone and begun anew (plan and dump
//! alone). Whoever breaks a run off, a signal or an error, `traces` alone puts right what it left.

mod alone;
mod beside;
mod commit;
mod config;
mod copies;
mod dump;
mod ground;
mod own;
mod plan;
mod preview;
mod prove;
mod recorder;
mod rehearsal;
mod told;
mod traces;

pub use config::{BackupConfig, Encryption};
pub use preview::preview;

use crate::cancel::Cancel;
use crate::{
    clock::now,
    dump::snapshot::Looked,
    error::{Kind, Result},
    progress::{Event, Progress},
    report::BackupReport,
};
use dump::Taken;
use ground::Ground;
use plan::Planned;
use recorder::Recorder;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use traces::Traces;

/// How long a dump is begun anew because a migration came between our locks and pg_dump's.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long that migration is given to pass before the next attempt.
const LET_PASS: Duration = Duration::from_millis(500);

/// Takes a backup, stores it and proves it. Never panics and always reports; cleans up behind itself, also when cancelled.
pub async fn run(config: &BackupConfig, progress: Arc<dyn Progress>, cancel: Cancel) -> BackupReport {
    let (started_at, begun) = (now(), Instant::now());
    let (recorder, traces) = (Recorder::new(progress.clone()), Traces::default());
    let work = work(config, recorder.clone(), traces.clone(), cancel.clone(), begun);
    let worked = cancel.unless(work, || traces.broken_off(&cancel)).await;
    let came_to = traces.clean_up(worked.is_err(), &cancel, &*recorder).await;
    let ended = told::Ended { kept: recorder.take(), came_to, error: worked.err(), started_at };
    ended.report(config, begun, &*progress, &cancel).await
}

/// The stages in their order.
async fn work(
    config: &BackupConfig,
    progress: Arc<Recorder>,
    traces: Traces,
    cancel: Cancel,
    begun: Instant,
) -> Result<()> {
    let (ground, looked) = Ground::examine(config, progress, traces, cancel).await?;
    let taken = take(&ground, looked, begun).await?;
    let committed = commit::commit(&ground, taken, begun.elapsed()).await?;
    if !config.anomaly.fail {
        commit::compare_with_before(&ground, &committed.manifest).await;
    }
    let proven = prove::prove(&ground, committed).await?;
    rehearsal::rehearse(&ground, proven).await
}

/// Plans and dumps, again and again as long as migrations stand in the way and patience lasts.
async fn take(ground: &Ground<'_>, looked: Looked, begun: Instant) -> Result<Taken> {
    let mut looked = Some(looked);
    loop {
        let taken = async {
            if ground.alone {
                return alone::dump(ground, looked.take().map(|l| l.session)).await;
            }
            let (planned, session) = Planned::make(ground, looked.take()).await?;
            dump::dump(ground, session, planned).await
        };
        match taken.await {
            Err(e) if e.kind() == Kind::Locked && begun.elapsed() < PATIENCE => {
                ground.progress.event(Event::Notice(&format!("{}; starting over", e.message())));
                ground.traces.undo_attempt(&*ground.progress).await;
                tokio::time::sleep(LET_PASS).await;
            }
            taken => return taken,
        }
    }
}
