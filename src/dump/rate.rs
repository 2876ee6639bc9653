//! A limit on how fast rows are read from the source, shared by all connections that read them.

use std::{
    num::NonZeroU64,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::sleep;

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
        let wait = self.reserve(Instant::now(), bytes);
        // Even the shortest sleep takes a millisecond.
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// How long whoever takes so many bytes now has to wait.
    fn reserve(&self, now: Instant, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(self.per_second.get()));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        *full = (*full).max(now) + time;
        full.duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PER_SECOND: u64 = 1_000_000;

    fn rate() -> Rate {
        Rate::new(NonZeroU64::new(PER_SECOND).expect("is not 0"))
    }

    #[test]
    fn four_takers_share_the_rate_and_none_is_left_behind() {
        let (rate, begun) = (rate(), Instant::now());
        let minute = begun + Duration::from_secs(60);
        // Each takes again when its time has come; who had fewer turns goes first.
        let mut takers = [1_000, 30_000, 128 << 10, 500_000].map(|bytes| (begun, bytes, 0_u32));
        let mut total = 0;
        loop {
            takers.sort_by_key(|t| (t.0, t.2));
            let (now, bytes, turns) = &mut takers[0];
            if *now > minute {
                break;
            }
            *turns += 1;
            *now += rate.reserve(*now, *bytes);
            total += *bytes;
            let most = (*now - begun + BURST).as_nanos() * u128::from(PER_SECOND) / 1_000_000_000;
            assert!(u128::from(total) <= most, "{total} bytes after {:?}, where {most} are the most", *now - begun);
        }
        // Nor is it slower than it must be, and nobody has more than his turns.
        assert!(total >= 59 * PER_SECOND, "only {total} bytes");
        assert!(takers.iter().all(|t| t.2.abs_diff(takers[3].2) <= takers[3].2 / 5), "{takers:?}");
    }

    #[test]
    fn more_than_the_bucket_holds_passes_in_due_time_and_a_pause_saves_up_one_bucket() {
        let (rate, begun) = (rate(), Instant::now());
        let wait = rate.reserve(begun, 10 * PER_SECOND);
        let late = wait.saturating_sub(Duration::from_millis(9_750));
        assert!(wait >= Duration::from_millis(9_750) && late < Duration::from_millis(5), "{wait:?}");
        let later = begun + Duration::from_secs(3600);
        assert_eq!(rate.reserve(later, PER_SECOND / 4), Duration::ZERO);
        assert_eq!(rate.reserve(later, PER_SECOND), Duration::from_secs(1));
    }
}
