//! No wait without an end for what is sent: a body that stands still, and an answer that does not come.
//!
//! A limit on a request would have to be that of the slowest line. So a body is handed over piece by piece, as the connection takes it, and
//! it counts how long none was taken.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How often a request is sent before its failure counts.
pub(super) const ATTEMPTS: u32 = 5;

/// A try may stand still for this part of what all of them may: there is time for all but the last, and for the pauses between them.
pub(super) const STALL_PARTS: u32 = ATTEMPTS - 1;

/// Bytes that a connection takes at once: small beside what a slow line carries in the time that a body may stand still.
pub(super) const PIECE: usize = 64 << 10;

/// How often it is looked at whether a pause has ended.
const LOOK: Duration = Duration::from_millis(200);

/// How far a body has come, over all tries of whoever sends it.
#[derive(Clone, Debug)]
pub(super) struct Pace(Arc<Mutex<Step>>);

#[derive(Debug)]
struct Step {
    moved: Instant,
    turn: Turn,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The connection takes the body.
    Sends,
    /// All of it was taken: the answer is due.
    Awaits,
    /// Ours, or the SDK's: a pause before another try, or nothing there to be sent yet.
    Ours,
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace(Arc::new(Mutex::new(Step { moved: Instant::now(), turn: Turn::Ours })))
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something moved, and whose turn it is now.
    pub(super) fn moves(&self, turn: Turn) {
        *self.step() = Step { moved: Instant::now(), turn };
    }

    /// Returns when nothing has moved for too long, and whether all was sent by then; what is in the connection's own buffers has `stall`
    /// to arrive and to be answered.
    pub(super) async fn stands_still(&self, stall: Duration) -> bool {
        loop {
            let (still, turn) = {
                let step = self.step();
                (step.moved.elapsed(), step.turn)
            };
            let limit = match turn {
                Turn::Sends => stall / STALL_PARTS,
                Turn::Awaits => stall,
                // Bounded by others.
                Turn::Ours => still + LOOK,
            };
            match limit.checked_sub(still) {
                None | Some(Duration::ZERO) => return turn == Turn::Awaits,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }
}
