//! No wait without an end: a connection on which the server owes an answer and sends no byte for [`stall`](super::conninfo::Target::stall) is looked into over
//! another one.
//!
//! A server that works on a long query, or waits for a lock, is silent as well, and so is one behind a network that swallows what it
//! sends. What the server itself says of the session tells them apart (`pg_stat_activity`): as long as it works there, it is waited for;
//! when it waits for us, or is through, or does not answer at all, the connection is dead. A single server process that was stopped by a
//! signal looks like one that works: only a limit on the whole run ends that wait.

use crate::error::{Error, Kind};
use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    time::{Duration, Instant},
};

/// How often a silent connection is looked at, at most.
const TICK: Duration = Duration::from_secs(5);

/// How much later than the last byte the server may have become idle by its own clock, which is read after ours.
const LATENCY: f64 = 1.0;

/// How often in a row a server that says nothing of the session (it has no room for another one, say) is waited for.
pub(super) const SILENT_LOOKS: u32 = 10;

/// Sync, whole (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).
const SYNC: [u8; 5] = [b'S', 0, 0, 0, 4];

/// A connection was given up. Travels inside an I/O error.
#[derive(Clone, Debug)]
pub(super) struct Stalled {
    message: String,
    hint: &'static str,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Stalled {}

impl Stalled {
    pub fn to_error(&self) -> Error {
        Error::new(Kind::Database, &self.message).hint(self.hint)
    }
}

/// What goes over a connection, as far as it tells whose turn it is.
pub(super) struct Pulse(Mutex<Beat>);

#[derive(Default)]
struct Beat {
    /// The session is up: from here on it is watched.
    on: bool,
    received: Option<Instant>,
    sent: Option<Instant>,
    /// Where what was received stands among its messages.
    framing: Framing,
    /// The last bytes of what was sent.
    written: [u8; 5],
    /// The first byte that was sent since something was received.
    first: u8,
    /// A read, or a write, has to wait.
    reads: Option<Waker>,
    writes: Option<Waker>,
    stalled: Option<Stalled>,
}

impl Beat {
    fn last(&self) -> Option<Instant> {
        self.received.max(self.sent)
    }

    /// Something was sent that was not answered by a single byte yet.
    fn unanswered(&self) -> bool {
        self.sent > self.received
    }

    /// It is not known to be our turn.
    fn owes(&self) -> bool {
        let ready = !self.unanswered() && self.framing.ends_with(b'Z');
        // Rows on their way in: the next ones are ours to send.
        let feeds = self.unanswered() && self.first == b'd' && self.written != SYNC;
        self.writes.is_some() || (self.reads.is_some() && !ready && !feeds)
    }
}

impl Pulse {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    fn lock(&self) -> MutexGuard<'_, Beat> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The error of a connection that was given up.
    pub fn check(&self) -> io::Result<()> {
        match &self.lock().stalled {
            Some(stalled) => Err(io::Error::new(io::ErrorKind::TimedOut, stalled.clone())),
            None => Ok(()),
        }
    }

    /// # Errors
    /// When they hold what PostgreSQL does not send.
    pub fn received(&self, bytes: &[u8]) -> io::Result<()> {
        let mut beat = self.lock();
        beat.reads = None;
        if beat.on && !bytes.is_empty() {
            beat.received = Some(Instant::now());
            if let Err(length) = beat.framing.follow(bytes) {
                beat.stalled.get_or_insert(Stalled {
                    message: format!("a message of the server with a length that cannot be ({length} bytes)"),
                    hint: CHANGED,
                });
            }
        }
        drop(beat);
        self.check()
    }

    pub fn sent(&self, bytes: &[u8]) {
        let mut beat = self.lock();
        beat.writes = None;
        if beat.on
            && let Some(&first) = bytes.first()
        {
            if !beat.unanswered() {
                beat.first = first;
            }
            keep(&mut beat.written, bytes);
            beat.sent = Some(Instant::now());
        }
    }

    pub fn reads(&self, waker: &Waker) {
        let mut beat = self.lock();
        if beat.on {
            beat.reads = Some(waker.clone());
        }
    }

    pub fn writes(&self, waker: &Waker) {
        let mut beat = self.lock();
        if beat.on {
            beat.writes = Some(waker.clone());
        }
    }

    /// Since when the server has owed an answer without sending a byte.
    fn silent_since(&self) -> Option<Instant> {
        let beat = self.lock();
        beat.last().filter(|_| beat.owes())
    }

    fn end(&self, stalled: Stalled) {
        let mut beat = self.lock();
        beat.stalled = Some(stalled);
        let (reads, writes) = (beat.reads.take(), beat.writes.take());
        drop(beat);
        [reads, writes].into_iter().flatten().for_each(Waker::wake);
    }
}

/// No message is longer (bytes, with its length): what the server sends at once it holds in one piece of its memory (`MaxAllocSize`).
const LONGEST: u32 = 0x4000_0000;

/// Follows the messages of the protocol in what a server sends: a byte that says of which kind one is, four of its length, with themselves.
#[derive(Debug, Default)]
struct Framing {
    /// The header of the next message, so far.
    head: [u8; 5],
    have: usize,
    /// Of the last message whose header was whole: its kind, and how many bytes are still to come.
    kind: u8,
    left: usize,
}

impl Framing {
    /// # Errors
    /// A length that cannot be.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), u32> {
        loop {
            let body = self.left.min(bytes.len());
            (self.left, bytes) = (self.left - body, &bytes[body..]);
            let more = (self.head.len() - self.have).min(bytes.len());
            if self.left > 0 || more == 0 {
                return Ok(());
            }
            self.head[self.have..self.have + more].copy_from_slice(&bytes[..more]);
            (self.have, bytes) = (self.have + more, &bytes[more..]);
            if self.have == self.head.len() {
                let [kind, a, b, c, d] = self.head;
                let length = u32::from_be_bytes([a, b, c, d]);
                if !(4..=LONGEST).contains(&length) {
                    return Err(length);
                }
                (self.kind, self.left, self.have) = (kind, length as usize - 4, 0);
            }
        }
    }

    /// Whether the last message is whole.
    fn between_messages(&self) -> bool {
        self.left == 0 && self.have == 0
    }

    /// Whether the last message is whole and of this kind.
    fn ends_with(&self, kind: u8) -> bool {
        self.between_messages() && self.kind == kind
    }
}

/// The last bytes of a stream.
fn keep<const N: usize>(tail: &mut [u8; N], bytes: &[u8]) {
    let new = bytes.len().min(N);
    tail.rotate_left(new);
    tail[N - new..].copy_from_slice(&bytes[bytes.len() - new..]);
}

/// Asks the server, over another connection, what it does on this one.
pub(super) type Look = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Said> + Send>> + Send + Sync>;

/// Watches a connection from here on, on which the server is ready for a query, until nobody holds it any more. `label`: the server's
/// address.
pub(super) fn watch(pulse: &Arc<Pulse>, stall: Duration, label: String, look: Look) {
    {
        let mut beat = pulse.lock();
        beat.on = true;
        beat.received = Some(Instant::now());
        beat.framing = Framing { kind: b'Z', ..Framing::default() };
    }
    tokio::spawn(watching(Arc::downgrade(pulse), stall, label, look));
}

async fn watching(pulse: Weak<Pulse>, stall: Duration, label: String, look: Look) {
    let (mut looks, mut looked) = (0, Instant::now());
    loop {
        tokio::time::sleep((stall / 4).min(TICK)).await;
        let Some(pulse) = pulse.upgrade() else { return };
        let Some(since) = pulse.silent_since() else { continue };
        if since.max(looked).elapsed() < stall {
            continue;
        }
        let said = look().await;
        // What came meanwhile is as good as an answer.
        let Some(again) = pulse.silent_since().filter(|again| *again == since) else { continue };
        looks = if matches!(said, Said::Nothing) { looks + 1 } else { 0 };
        let why = dead(&pulse.lock(), &said, looks, again);
        if let Some(why) = why {
            return pulse.end(Stalled {
                message: format!("no byte from {} for {:.0?}: {why}", label, again.elapsed()),
                hint: why.hint(),
            });
        }
        looked = Instant::now();
    }
}

/// What the server says of a session.
#[derive(Debug)]
pub(super) enum Said {
    /// It works, or waits for something of its own.
    Works,
    /// It waits for bytes from us.
    Reads,
    /// It waits until we take its bytes.
    Writes,
    /// It has been through for so many seconds.
    Idle(f64),
    /// There is no such session.
    Gone,
    /// It answers, but tells nothing.
    Nothing,
    /// It does not answer.
    Unreachable(String),
}

/// Why a connection is dead.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    Swallowed,
    Gone,
    Untold,
    Unreachable(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Swallowed => f.write_str("the server waits for us or is through, and nothing of it arrives"),
            Why::Gone => f.write_str("the server has ended the session, and nothing of it arrives"),
            Why::Untold => f.write_str("the server does not tell what it does"),
            Why::Unreachable(why) => write!(f, "nor does it answer on another connection: {why}"),
        }
    }
}

/// The cure of bytes that are not those which were sent.
const CHANGED: &str = "something between here and the server changes what it sends: look there; sslmode=require lets it be noticed at once";
/// Cures of a connection that is swallowed, and of a server that is silent altogether.
pub(super) const SWALLOWED: &str = "something between here and the server (a NAT gateway, a VPN, a proxy) drops the connection without a word: look there";
pub(super) const CUT: &str = "the server hangs or the network is cut; if it is only slow, raise --stall-timeout";

impl Why {
    fn hint(&self) -> &'static str {
        match self {
            Why::Swallowed | Why::Gone => SWALLOWED,
            Why::Untold => "raise --stall-timeout, or give the role room for one connection more",
            Why::Unreachable(_) => CUT,
        }
    }
}

/// Why the connection is dead; `None`: it is worth waiting. `silent_since`: the last byte.
fn dead(beat: &Beat, said: &Said, looks: u32, silent_since: Instant) -> Option<Why> {
    match said {
        Said::Works => None,
        // Between our bytes it reads, and waits for nobody else.
        Said::Reads if beat.writes.is_none() && !beat.unanswered() => None,
        Said::Reads | Said::Writes => Some(Why::Swallowed),
        Said::Idle(_) if beat.unanswered() => Some(Why::Swallowed),
        // It was idle before the last byte came, which nobody had asked for (a setting was changed, say).
        Said::Idle(since)
            if beat.framing.between_messages() && *since > silent_since.elapsed().as_secs_f64() + LATENCY =>
        {
            None
        }
        Said::Idle(_) => Some(Why::Swallowed),
        Said::Gone => Some(Why::Gone),
        Said::Nothing if looks <= SILENT_LOOKS => None,
        Said::Nothing => Some(Why::Untold),
        Said::Unreachable(why) => Some(Why::Unreachable(why.clone())),
    }
}

/// The error of a connection that was given up, if `e` is one.
pub(super) fn stalled(e: &io::Error) -> Option<Error> {
    e.get_ref().and_then(|inner| inner.downcast_ref::<Stalled>()).map(Stalled::to_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(received: u64, sent: u64) -> Beat {
        let start = Instant::now();
        let at = |s: u64| Some(start + Duration::from_secs(s));
        Beat { on: true, received: at(received), sent: at(sent), reads: Some(Waker::noop().clone()), ..Beat::default() }
    }

    #[test]
    fn who_is_waited_for() {
        let mut idle = beat(2, 1);
        assert_eq!(idle.framing.follow(&[b'Z', 0, 0, 0, 5, b'T']), Ok(()));
        assert!(!idle.owes(), "ready for the next query");
        // What looks like the end of an answer may stand within a longer message.
        assert_eq!(idle.framing.follow(&[b'd', 0, 0, 0, 20, b'Z', 0, 0, 0, 5, b'T']), Ok(()));
        assert!(idle.owes(), "the message is not whole");
        assert!(beat(1, 2).owes(), "a query is on its way");
        assert!(beat(2, 1).owes(), "an answer has begun");
        let mut feeding = Beat { first: b'd', ..beat(1, 2) };
        assert!(!feeding.owes(), "the next rows are ours");
        feeding.written = SYNC;
        assert!(feeding.owes(), "all rows were sent");
        feeding = Beat { first: b'd', writes: Some(Waker::noop().clone()), ..beat(1, 2) };
        assert!(feeding.owes(), "rows cannot be sent");
        assert!(!Beat { reads: None, ..beat(1, 2) }.owes(), "nobody reads");
    }

    #[test]
    fn what_the_server_says_decides() {
        let now = Instant::now();
        let (asked, answering) = (beat(1, 2), beat(2, 1));
        let dead = |beat: &Beat, said: Said| super::dead(beat, &said, 1, now);
        assert_eq!(dead(&asked, Said::Works), None);
        assert_eq!(dead(&answering, Said::Reads), None);
        assert_eq!(dead(&asked, Said::Reads), Some(Why::Swallowed));
        assert_eq!(dead(&answering, Said::Writes), Some(Why::Swallowed));
        assert_eq!(dead(&asked, Said::Idle(100.0)), Some(Why::Swallowed));
        assert_eq!(dead(&answering, Said::Idle(100.0)), None, "it was through before");
        assert_eq!(dead(&answering, Said::Idle(0.0)), Some(Why::Swallowed));
        let mut within = beat(2, 1);
        assert_eq!(within.framing.follow(b"d"), Ok(()));
        assert_eq!(dead(&within, Said::Idle(100.0)), Some(Why::Swallowed), "nobody sends the rest");
        assert_eq!(dead(&answering, Said::Gone), Some(Why::Gone));
        assert_eq!(super::dead(&asked, &Said::Nothing, SILENT_LOOKS, now), None);
        assert_eq!(super::dead(&asked, &Said::Nothing, SILENT_LOOKS + 1, now), Some(Why::Untold));
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let stream = [&[b'T', 0, 0, 0, 4, b'D', 0, 0, 0, 7, 1, 2, 3][..], &[b'Z', 0, 0, 0, 5, b'I']].concat();
        for cut in 0..=stream.len() {
            let mut framing = Framing::default();
            let (one, other) = stream.split_at(cut);
            assert_eq!((framing.follow(one), framing.follow(other)), (Ok(()), Ok(())));
            assert!(framing.ends_with(b'Z') && !framing.ends_with(b'D'), "{cut}");
            assert_eq!(framing.follow(&[b'd', 0, 0, 0, 3]), Err(3));
        }
        assert_eq!(Framing::default().follow(&[b'd', 0x40, 0, 0, 1]), Err(LONGEST + 1));
    }

    #[test]
    fn the_last_bytes_are_kept() {
        let mut tail = [0; 5];
        keep(&mut tail, b"abcdefg");
        assert_eq!(&tail, b"cdefg");
        keep(&mut tail, b"hi");
        assert_eq!(&tail, b"efghi");
    }
}
