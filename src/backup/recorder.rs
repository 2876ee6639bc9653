//! Hands events on, and keeps what the manifest and the report need of them.

use crate::progress::{Event, Phase, Progress};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What was told so far.
#[derive(Default)]
pub(super) struct Kept {
    /// The phase that the run is at; an error is told as this phase's.
    pub phase: Option<Phase>,
    /// How long each finished phase took.
    pub phases: BTreeMap<Phase, Duration>,
    pub warnings: Vec<String>,
    pub notices: Vec<String>,
}

/// A progress that remembers.
pub(super) struct Recorder {
    inner: Arc<dyn Progress>,
    kept: Mutex<Kept>,
}

impl Recorder {
    pub fn new(inner: Arc<dyn Progress>) -> Arc<Recorder> {
        Arc::new(Recorder { inner, kept: Mutex::default() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was told, for the report.
    pub fn take(&self) -> Kept {
        std::mem::take(&mut *self.kept())
    }

    /// Seconds per phase that has ended, in order.
    pub fn seconds(&self) -> Vec<(String, f64)> {
        seconds(&self.kept().phases)
    }

    /// Begins a phase.
    pub fn begin(&self, phase: Phase) -> Timed<'_> {
        self.event(Event::Started(phase));
        Timed { recorder: self, phase, begun: Instant::now() }
    }
}

/// Seconds per phase, in order.
pub(super) fn seconds(phases: &BTreeMap<Phase, Duration>) -> Vec<(String, f64)> {
    phases.iter().map(|(phase, time)| (phase.name().to_owned(), time.as_secs_f64())).collect()
}

/// A phase under way.
#[must_use = "a phase ends by `end`"]
pub(super) struct Timed<'a> {
    recorder: &'a Recorder,
    phase: Phase,
    begun: Instant,
}

impl Timed<'_> {
    /// It is done. A phase that fails is never ended.
    pub fn end(self) {
        self.recorder.event(Event::Finished(self.phase, self.begun.elapsed()));
    }
}

impl Progress for Recorder {
    fn event(&self, event: Event<'_>) {
        {
            let mut kept = self.kept();
            match event {
                // The restore begins while the dump goes on: an error then is the dump's.
                Event::Started(Phase::Restore) => {}
                Event::Finished(Phase::Commit, time) => {
                    kept.phases.insert(Phase::Commit, time);
                    kept.phase = Some(Phase::Restore);
                }
                Event::Started(phase) => kept.phase = Some(phase),
                Event::Finished(phase, time) => {
                    kept.phases.insert(phase, time);
                }
                Event::Warning(text) => kept.warnings.push(text.into()),
                Event::Notice(text) => kept.notices.push(text.into()),
                _ => {}
            }
        }
        self.inner.event(event);
    }
}
