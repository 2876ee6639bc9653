//! Breaking a run off: by a signal, or because its time is over.

use crate::error::{Error, Kind, Result};
use futures_util::FutureExt;
use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long cleaning up behind a failure may take.
pub(crate) const CLEAN_UP: Duration = Duration::from_secs(25);

/// How long it may take behind a signal: the runner kills after about 10 s.
const BEHIND_A_SIGNAL: Duration = Duration::from_secs(6);

/// Of the time that a run has, this much at most is left for cleaning up and for telling.
const RESERVE: Duration = Duration::from_secs(30);

/// Tells all who work for a run that it is broken off, and why. Clones tell the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    token: CancellationToken,
    over: Arc<OnceLock<Duration>>,
}

impl Cancel {
    /// Of a run that goes on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Breaks the run off, as a signal does.
    pub fn cancel(&self) {
        self.token.cancel();
    }

    /// Breaks the run off so early that, with cleaning up and telling, it takes no longer than `limit`.
    pub fn within(&self, limit: Duration) {
        let cancel = self.clone();
        let work = limit - RESERVE.min(limit / 4);
        tokio::spawn(async move {
            tokio::time::sleep(work).await;
            if !cancel.is_cancelled() {
                let _ = cancel.over.set(limit);
                cancel.token.cancel();
            }
        });
    }

    /// Whether the run was broken off.
    pub fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Whether nobody waits for long any more.
    pub fn is_urgent(&self) -> bool {
        self.is_cancelled() && self.over.get().is_none()
    }

    /// Returns when the run is broken off.
    pub async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Does the work of a run, unless that is broken off: then the error is `broken_off`. Code that panics is an error as well, so that
    /// whoever calls this cleans up behind the work in any case.
    pub(crate) async fn unless<T>(
        &self,
        work: impl Future<Output = Result<T>>,
        broken_off: impl FnOnce() -> Error,
    ) -> Result<T> {
        tokio::select! {
            biased;
            () = self.cancelled() => Err(broken_off()),
            worked = AssertUnwindSafe(work).catch_unwind() => worked.unwrap_or_else(|panic| Err(Error::panicked(&*panic))),
        }
    }

    /// The error of a run that was broken off.
    pub fn error(&self) -> Error {
        match self.over.get() {
            Some(limit) => {
                Error::new(Kind::Interrupted, format!("its time is over: --timeout allows {} s", limit.as_secs()))
            }
            None => Error::new(Kind::Interrupted, "interrupted by a signal"),
        }
    }

    /// How long cleaning up may take.
    pub fn clean_up(&self) -> Duration {
        if self.is_urgent() { BEHIND_A_SIGNAL } else { CLEAN_UP }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_limit_leaves_time_to_clean_up() {
        let (cancel, begun) = (Cancel::new(), std::time::Instant::now());
        cancel.within(Duration::from_secs(1));
        cancel.cancelled().await;
        assert!((0.7..0.95).contains(&begun.elapsed().as_secs_f64()), "{:?}", begun.elapsed());
        assert_eq!((cancel.is_urgent(), cancel.clean_up()), (false, CLEAN_UP));
        assert_eq!(cancel.error().message(), "its time is over: --timeout allows 1 s");
    }

    #[test]
    fn a_signal_is_urgent() {
        let cancel = Cancel::new();
        assert!(!cancel.is_urgent());
        cancel.cancel();
        assert_eq!((cancel.is_urgent(), cancel.clean_up()), (true, BEHIND_A_SIGNAL));
        assert_eq!(cancel.error().message(), "interrupted by a signal");
    }
}
