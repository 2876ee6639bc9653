//! Hands events on, and keeps what the manifest and the report need of them.

use crate::{
    progress::{Event, Phase, Progress},
    report::PhaseTime,
};
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
    /// When each finished phase began, from the run's beginning on, and how long it took.
    pub phases: BTreeMap<Phase, (Duration, Duration)>,
    pub warnings: Vec<String>,
    pub notices: Vec<String>,
}

/// A progress that remembers.
pub(super) struct Recorder {
    inner: Arc<dyn Progress>,
    begun: Instant,
    kept: Mutex<Kept>,
}

impl Recorder {
    pub fn new(inner: Arc<dyn Progress>) -> Arc<Recorder> {
        Arc::new(Recorder { inner, begun: Instant::now(), kept: Mutex::default() })
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
        times(&self.kept().phases).into_iter().map(|p| (p.name, p.seconds)).collect()
    }

    /// Begins a phase.
    pub fn begin(&self, phase: Phase) -> Timed<'_> {
        self.event(Event::Started(phase));
        Timed { recorder: self, phase, begun: Instant::now() }
    }
}

/// The phases in order.
pub(super) fn times(phases: &BTreeMap<Phase, (Duration, Duration)>) -> Vec<PhaseTime> {
    let time = |(phase, (from, time)): (&Phase, &(Duration, Duration))| PhaseTime {
        name: phase.name().to_owned(),
        from: from.as_secs_f64(),
        seconds: time.as_secs_f64(),
    };
    phases.iter().map(time).collect()
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
                Event::Started(phase) => kept.phase = Some(phase),
                Event::Finished(phase, time) => {
                    kept.phases.insert(phase, (self.begun.elapsed().saturating_sub(time), time));
                    if phase == Phase::Commit {
                        kept.phase = Some(Phase::Restore);
                    }
                }
                Event::Warning(text) => kept.warnings.push(text.into()),
                Event::Notice(text) => kept.notices.push(text.into()),
                _ => {}
            }
        }
        self.inner.event(event);
    }
}
