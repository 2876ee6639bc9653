//! No wait without an end: a connection on which the server owes an answer and sends no byte for [`stall`](super::conninfo::Target::stall) is looked into over
//! another one.
//!
//! A server that works on a long query, or waits for a lock, is silent as well, and so is one behind a network that swallows what it
//! sends. What the server itself says of the session tells them apart (`pg_stat_activity`): as long as it works there, it is waited for;
//! when it waits for us, or is through, or does not answer at all, the connection is dead. A single server process that was stopped by a
//! signal looks like one that works: only a limit on the whole run ends that wait.

use crate::error::{Error, Kind};
use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    time::{Duration, Instant},
};

/// How often a silent connection is looked at, at most.
const TICK: Duration = Duration::from_secs(5);

/// How often in a row a server that says nothing of the session (it has no room for another one, say) is waited for.
pub(super) const SILENT_LOOKS: u32 = 10;

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
    /// Where what was received, and what was sent, stands among its messages.
    framing: Framing,
    sending: Framing,
    turn: Turn,
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

    /// It is not our turn.
    fn owes(&self) -> bool {
        self.writes.is_some() || (self.reads.is_some() && (self.turn.is_theirs() || !self.framing.between_messages()))
    }
}

/// Whose turn it is, by the messages that go over a connection: several questions may be on their way at once, and the server is ready
/// again behind each (<https://www.postgresql.org/docs/current/protocol-flow.html>, "Pipelining" and "COPY Operations").
#[derive(Debug, Default)]
struct Turn {
    /// Kinds of the messages, oldest first, behind each of which the server is still to say that it is ready.
    asked: VecDeque<u8>,
    /// It takes rows: the next ones are ours to send.
    feeds: bool,
}

impl Turn {
    /// A message of this kind is on its way to the server.
    fn sent(&mut self, kind: u8) {
        match kind {
            // Query, Sync, FunctionCall.
            b'Q' | b'S' | b'F' => self.asked.push_back(kind),
            // CopyDone, CopyFail.
            b'c' | b'f' => self.feeds = false,
            _ => {}
        }
    }

    /// A message of this kind began to come from the server.
    fn received(&mut self, kind: u8) {
        match kind {
            // ReadyForQuery.
            b'Z' => {
                self.asked.pop_front();
                self.feeds = false;
            }
            // CopyInResponse. While it takes rows, it passes over a Sync: that which came with the Execute is not answered.
            b'G' => {
                self.asked.pop_front_if(|kind| *kind == b'S');
                self.feeds = true;
            }
            // ErrorResponse.
            b'E' => self.feeds = false,
            _ => {}
        }
    }

    fn is_theirs(&self) -> bool {
        !self.feeds && !self.asked.is_empty()
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
            let Beat { framing, turn, .. } = &mut *beat;
            if let Err(length) = framing.follow(bytes, |kind| turn.received(kind)) {
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
        if beat.on && !bytes.is_empty() {
            let Beat { sending, turn, .. } = &mut *beat;
            // A length of ours that cannot be is the server's to refuse.
            let _ = sending.follow(bytes, |kind| turn.sent(kind));
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

/// Follows the messages of the protocol in one direction: a byte that says of which kind one is, four of its length, with themselves.
#[derive(Debug, Default)]
struct Framing {
    /// The header of the next message, so far.
    head: [u8; 5],
    have: usize,
    /// How many bytes of the last message whose header was whole are still to come.
    left: usize,
}

impl Framing {
    /// `begins` is given the kind of each message whose header is whole.
    ///
    /// # Errors
    /// A length that cannot be.
    fn follow(&mut self, mut bytes: &[u8], mut begins: impl FnMut(u8)) -> Result<(), u32> {
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
                (self.left, self.have) = (length as usize - 4, 0);
                begins(kind);
            }
        }
    }

    /// Whether the last message is whole.
    fn between_messages(&self) -> bool {
        self.left == 0 && self.have == 0
    }
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
        let why = dead(&pulse.lock(), &said, looks);
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
    /// It is through.
    Idle,
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

/// Why a connection on which it is the server's turn is dead; `None`: it is worth waiting.
fn dead(beat: &Beat, said: &Said, looks: u32) -> Option<Why> {
    match said {
        Said::Works => None,
        // Between our bytes it reads, and waits for nobody else.
        Said::Reads if beat.writes.is_none() && !beat.unanswered() => None,
        Said::Reads | Said::Writes | Said::Idle => Some(Why::Swallowed),
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

    const SYNC: &[u8] = &[b'S', 0, 0, 0, 4];
    const QUERY: &[u8] = &[b'Q', 0, 0, 0, 5, 0];
    const READY: &[u8] = &[b'Z', 0, 0, 0, 5, b'I'];
    const COPY_IN: &[u8] = &[b'G', 0, 0, 0, 7, 0, 0, 0];
    const COPY_DONE: &[u8] = &[b'c', 0, 0, 0, 4];
    const ROW: &[u8] = &[b'd', 0, 0, 0, 6, b'1', b'\n'];
    /// A setting was changed.
    const PARAMETER: &[u8] = &[b'S', 0, 0, 0, 6, 0, 0];

    fn reading() -> Arc<Pulse> {
        let pulse = Pulse::new();
        pulse.lock().on = true;
        pulse
    }

    /// Whether the server owes an answer while we read, behind these bytes: to it (`true`) or of it.
    fn owes_behind(exchanged: &[(bool, &[u8])]) -> bool {
        let pulse = reading();
        for (ours, bytes) in exchanged {
            match ours {
                true => pulse.sent(bytes),
                false => pulse.received(bytes).expect("lengths that can be"),
            }
        }
        pulse.reads(Waker::noop());
        pulse.lock().owes()
    }

    #[test]
    fn who_is_waited_for() {
        const US: bool = true;
        const IT: bool = false;
        assert!(!owes_behind(&[]), "nothing was asked");
        assert!(owes_behind(&[(US, QUERY)]), "a query is on its way");
        assert!(owes_behind(&[(US, QUERY), (IT, ROW)]), "an answer has begun");
        assert!(!owes_behind(&[(US, QUERY), (IT, ROW), (IT, READY)]), "ready for the next query");
        assert!(!owes_behind(&[(US, QUERY), (IT, READY), (IT, PARAMETER)]), "a word that nobody asked for");
        assert!(owes_behind(&[(IT, &PARAMETER[..6])]), "the message is not whole");
        // Several at once, also in one write: each is answered.
        let three = [SYNC, QUERY, SYNC].concat();
        assert!(owes_behind(&[(US, &three), (IT, READY)]), "two are still to be answered");
        assert!(owes_behind(&[(US, &three), (IT, READY), (IT, READY)]), "one is still to be answered");
        assert!(!owes_behind(&[(US, &three), (IT, &[READY, READY, READY].concat())]));
        // What looks like the end of an answer may stand within a longer message.
        let within = [&[b'd', 0, 0, 0, 20][..], READY].concat();
        assert!(owes_behind(&[(US, QUERY), (IT, &within)]), "the message is not whole");
    }

    /// COPY FROM STDIN: by the extended protocol the Sync that came with it has no answer of its own, by the simple one its query has.
    #[test]
    fn who_is_waited_for_while_rows_go_in() {
        for copy in [SYNC, QUERY] {
            let begun = [(true, copy), (false, COPY_IN), (true, ROW)];
            assert!(!owes_behind(&begun), "the next rows are ours");
            let end = [COPY_DONE, if copy == SYNC { SYNC } else { &[] }].concat();
            let done = [&begun[..], &[(true, &end[..])]].concat();
            assert!(owes_behind(&done), "all rows were sent");
            assert!(!owes_behind(&[&done[..], &[(false, READY)]].concat()));
        }
        let stuck = reading();
        stuck.writes(Waker::noop());
        assert!(stuck.lock().owes(), "rows cannot be sent");
    }

    #[test]
    fn what_the_server_says_decides() {
        let (asked, answering) = (reading(), reading());
        asked.sent(QUERY);
        answering.sent(QUERY);
        answering.received(ROW).expect("a length that can be");
        let dead = |pulse: &Pulse, said: Said, looks| super::dead(&pulse.lock(), &said, looks);
        assert_eq!(dead(&asked, Said::Works, 0), None);
        assert_eq!(dead(&answering, Said::Reads, 0), None);
        assert_eq!(dead(&asked, Said::Reads, 0), Some(Why::Swallowed));
        assert_eq!(dead(&answering, Said::Writes, 0), Some(Why::Swallowed));
        assert_eq!(dead(&asked, Said::Idle, 0), Some(Why::Swallowed));
        assert_eq!(dead(&answering, Said::Idle, 0), Some(Why::Swallowed));
        assert_eq!(dead(&answering, Said::Gone, 0), Some(Why::Gone));
        assert_eq!(dead(&asked, Said::Nothing, SILENT_LOOKS), None);
        assert_eq!(dead(&asked, Said::Nothing, SILENT_LOOKS + 1), Some(Why::Untold));
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let stream = [&[b'T', 0, 0, 0, 4, b'D', 0, 0, 0, 7, 1, 2, 3][..], READY].concat();
        for cut in 0..=stream.len() {
            let (mut framing, mut kinds) = (Framing::default(), Vec::new());
            let (one, other) = stream.split_at(cut);
            assert_eq!(framing.follow(one, |kind| kinds.push(kind)), Ok(()));
            assert_eq!(framing.follow(other, |kind| kinds.push(kind)), Ok(()));
            assert_eq!(kinds, b"TDZ", "{cut}");
            assert!(framing.between_messages());
            assert_eq!(framing.follow(&[b'd', 0, 0, 0, 3], |_| ()), Err(3));
        }
        assert_eq!(Framing::default().follow(&[b'd', 0x40, 0, 0, 1], |_| ()), Err(LONGEST + 1));
    }
}
