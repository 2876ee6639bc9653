//! A limit on how fast rows are read from the source, shared by all connections that read them.

use std::{
    num::NonZeroU64,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// What may be read at once after a pause, as reading time: small beside any meter, large beside a timer's millisecond.
const BURST: Duration = Duration::from_millis(250);

/// A token bucket. Whoever read something waits until it is paid for before reading on; meanwhile the socket fills, and the server
/// process waits as well.
#[derive(Debug)]
pub struct Rate {
    per_second: NonZeroU64,
    /// When the bucket is full again. Each taker moves it on by its own bytes, so they are served in the order in which they came.
    full: Mutex<Instant>,
}

impl Rate {
    /// A full bucket of so many bytes per second; it holds a quarter of a second's.
    pub fn new(per_second: NonZeroU64) -> Self {
        Self { per_second, full: Mutex::new(Instant::now()) }
    }

    /// Takes so many bytes, and returns when they have had their time. More than the bucket holds only waits longer.
    pub async fn take(&self, bytes: u64) {
        let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(self.per_second.get()));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let wait = {
            let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            *full = (*full).max(now) + time;
            full.duration_since(now).saturating_sub(BURST)
        };
        // Even the shortest sleep takes a millisecond.
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const PER_SECOND: u64 = 1_000_000;

    fn rate() -> Arc<Rate> {
        Arc::new(Rate::new(NonZeroU64::new(PER_SECOND).expect("is not 0")))
    }

    #[tokio::test(start_paused = true)]
    async fn four_takers_share_the_rate_and_none_is_left_behind() {
        let (rate, begun) = (rate(), Instant::now());
        let takers = [1_000, 30_000, 128 << 10, 500_000].map(|bytes| {
            let rate = rate.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                // The second bound ends the test where nobody waits, and so no time passes.
                while begun.elapsed() < Duration::from_secs(60) && taken.len() < 1_000 {
                    rate.take(bytes).await;
                    taken.push((begun.elapsed(), bytes));
                    tokio::task::yield_now().await;
                }
                taken
            })
        });
        let (mut all, mut turns) = (Vec::new(), Vec::new());
        for taker in takers {
            let taken = taker.await.expect("ends");
            turns.push(taken.len());
            all.extend(taken);
        }
        all.sort();
        let mut total = 0;
        for (at, bytes) in all {
            total += bytes;
            let most = (at + BURST).as_nanos() * u128::from(PER_SECOND) / 1_000_000_000;
            assert!(u128::from(total) <= most, "{total} bytes after {at:?}, where {most} are the most");
        }
        // Nor is it slower than it must be, and nobody has more than his turns.
        assert!(total >= 59 * PER_SECOND, "only {total} bytes");
        assert!(turns.iter().all(|t| t.abs_diff(turns[3]) <= turns[3] / 5), "{turns:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_bucket_holds_passes_in_due_time_and_a_pause_saves_up_one_bucket() {
        let (rate, begun) = (rate(), Instant::now());
        rate.take(10 * PER_SECOND).await;
        let late = begun.elapsed().saturating_sub(Duration::from_millis(9_750));
        assert!(begun.elapsed() >= Duration::from_millis(9_750) && late < Duration::from_millis(5), "{late:?}");
        sleep(Duration::from_secs(3600)).await;
        let begun = Instant::now();
        rate.take(PER_SECOND / 4).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        rate.take(PER_SECOND).await;
        assert!(begun.elapsed() >= Duration::from_secs(1));
    }
}
