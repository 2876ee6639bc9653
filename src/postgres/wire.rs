//! Reading rows without an allocation per row: `COPY … TO STDOUT` over a connection that was taken over from the driver once
//! it was set up. Speaks only what that takes of the protocol
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use crate::{
    error::{Error, Kind},
    postgres::{
        answer::{self, Said},
        watch::{self, Pulse},
    },
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Bytes that are read ahead. A message of more than half of it is handed out in pieces.
const BUFFER_BYTES: usize = 256 << 10;

/// No message but a row is longer than this.
const MOST_MESSAGE: usize = 16 << 20;

/// How long a connection that broke is listened to for what the server said before.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A stream to the server, encrypted or not.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream that can be taken away from whoever reads it (for him it has ended then), and that knows what goes over it.
pub(super) struct Tap<S> {
    stream: Arc<Mutex<Option<S>>>,
    pulse: Arc<Pulse>,
}

impl<S> Tap<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream: Arc::new(Mutex::new(Some(stream))), pulse: Pulse::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<S>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for Tap<S> {
    fn clone(&self) -> Self {
        Self { stream: self.stream.clone(), pulse: self.pulse.clone() }
    }
}

/// Something that a stream can be taken out of.
pub(super) trait Take: Send + Sync {
    fn take(&self) -> Option<Box<dyn Io>>;

    fn pulse(&self) -> Arc<Pulse>;
}

impl<S: Io + 'static> Take for Tap<S> {
    fn take(&self) -> Option<Box<dyn Io>> {
        let stream = self.lock().take()?;
        Some(Box::new(Self { stream: Arc::new(Mutex::new(Some(stream))), pulse: self.pulse.clone() }))
    }

    fn pulse(&self) -> Arc<Pulse> {
        self.pulse.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let Some(stream) = &mut *self.lock() else { return Poll::Ready(Ok(())) };
        self.pulse.check()?;
        let before = buf.filled().len();
        let polled = Pin::new(stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(_) => self.pulse.received(&buf.filled()[before..])?,
            Poll::Pending => self.pulse.reads(cx.waker()),
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let Some(stream) = &mut *self.lock() else { return Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into())) };
        self.pulse.check()?;
        let polled = Pin::new(stream).poll_write(cx, bytes);
        match &polled {
            Poll::Ready(sent) => self.pulse.sent(&bytes[..*sent.as_ref().unwrap_or(&0)]),
            Poll::Pending => self.pulse.writes(cx.waker()),
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self.lock() {
            Some(stream) => Pin::new(stream).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self.lock() {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for Tap<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.lock().as_ref().map_or_else(ChannelBinding::none, TlsStream::channel_binding)
    }
}

/// Where the stream of a connection can be taken from: set when TLS begins, else the plain one.
pub(super) type Slot = Arc<Mutex<Box<dyn Take>>>;

/// A TLS connector whose stream can be taken away.
pub(super) struct TapConnect<C> {
    pub(super) inner: C,
    pub(super) slot: Slot,
}

impl<S, C> TlsConnect<S> for TapConnect<C>
where
    C: TlsConnect<S>,
    C::Future: Send + 'static,
    C::Stream: Io + 'static,
{
    type Stream = Tap<C::Stream>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Stream, Self::Error>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        let (connecting, slot) = (self.inner.connect(stream), self.slot);
        Box::pin(async move {
            let tap = Tap::new(connecting.await?);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(tap.clone());
            Ok(tap)
        })
    }
}

/// Why a statement over a [`Wire`] did not end well.
#[derive(Debug)]
pub enum Fault {
    /// The server refused; the connection is in step and can be used on.
    Server(Said),
    /// The connection is gone.
    Broken(Error),
}

impl Fault {
    /// As an error about `what`.
    pub fn explain(self, what: &str) -> Error {
        match self {
            Fault::Server(said) => answer::said(what, &said),
            Fault::Broken(e) => e.context(what),
        }
    }
}

/// Bytes of one row.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// COPY text.
    pub bytes: &'a [u8],
    /// The row ends here.
    pub ends: bool,
}

/// A connection that reads rows. The protocol sends one row per CopyData message ("COPY Operations" in PostgreSQL's manual); a large
/// row is handed out in pieces, so that memory does not grow with it.
pub struct Wire {
    io: Box<dyn Io>,
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    /// Bytes of the open row that are still to come.
    rest: usize,
    /// Rows of the COPY that were handed out, until the server has told how many it sent.
    rows: Option<u64>,
    /// The COPY is binary: what stands behind its rows comes as if it were one more.
    binary: bool,
    failed: Option<Said>,
    /// First columns of rows that queries between the COPYs gave.
    answered: Vec<String>,
}

/// What stands next in the buffer.
enum Next {
    Data,
    Message(u8, std::ops::Range<usize>),
    Unknown,
}

fn broken(what: impl Into<String>) -> Fault {
    Fault::Broken(Error::new(Kind::Database, what))
}

impl Wire {
    /// Takes over a stream on which the server waits for a query.
    pub fn new(io: Box<dyn Io>) -> Self {
        Self {
            io,
            buffer: vec![0; BUFFER_BYTES],
            at: 0,
            end: 0,
            rest: 0,
            rows: None,
            binary: false,
            failed: None,
            answered: Vec::new(),
        }
    }

    /// Sends statements as one simple query.
    pub async fn send(&mut self, sql: &str) -> Result<(), Fault> {
        if sql.contains('\0') {
            return Err(broken("a statement holds a zero byte"));
        }
        let mut message = Vec::with_capacity(sql.len() + 6);
        message.push(b'Q');
        message.extend_from_slice(&(sql.len() as u32 + 5).to_be_bytes());
        message.extend_from_slice(sql.as_bytes());
        message.push(0);
        let sent = async {
            self.io.write_all(&message).await?;
            self.io.flush().await
        };
        let Err(e) = sent.await else { return Ok(()) };
        // Whoever cannot be written to any more may have said why: an idle connection that was ended, for one.
        let words = async { while self.pass().await.is_ok() {} };
        let _ = tokio::time::timeout(LAST_WORDS, words).await;
        Err(self.lost(e))
    }

    /// Passes over one message that nobody asked for.
    async fn pass(&mut self) -> Result<(), Fault> {
        match self.look()? {
            Next::Message(tag, body) => {
                self.take(tag, body);
                Ok(())
            }
            Next::Unknown => self.read_more().await.map_err(|_| unexpected(b'?')),
            Next::Data => Err(unexpected(b'd')),
        }
    }

    /// Runs statements that return nothing of interest.
    pub async fn run(&mut self, sql: &str) -> Result<(), Fault> {
        self.send(sql).await?;
        let copy = self.next_copy().await?;
        self.answered.clear();
        match copy {
            false => Ok(()),
            true => Err(broken("the server began a COPY that was not asked for")),
        }
    }

    /// Goes on to the next COPY of what was sent; false when the server is through with all of it.
    pub async fn next_copy(&mut self) -> Result<bool, Fault> {
        loop {
            match self.look()? {
                Next::Data => return Err(unexpected(b'd')),
                Next::Unknown => self.read().await?,
                Next::Message(tag, body) => match self.take(tag, body.clone()) {
                    Some(b'H') => {
                        self.rows = Some(0);
                        self.binary = self.buffer[body].first() == Some(&1);
                        return Ok(true);
                    }
                    Some(b'Z') => return self.failed.take().map_or(Ok(false), |said| Err(Fault::Server(said))),
                    Some(b'C') => self.compare_rows(body)?,
                    Some(b'D') => self.answer(body),
                    // The columns of a SELECT, an empty query.
                    None | Some(b'T' | b'I') => {}
                    Some(tag) => return Err(unexpected(tag)),
                },
            }
        }
    }

    /// Keeps the first column of a row (DataRow: a number of columns, then length and text of each).
    fn answer(&mut self, body: std::ops::Range<usize>) {
        let row = &self.buffer[body];
        let length = row.get(2..6).map_or(-1, |l| i32::from_be_bytes([l[0], l[1], l[2], l[3]]));
        let text = usize::try_from(length).ok().and_then(|length| row.get(6..6 + length)).unwrap_or_default();
        self.answered.push(String::from_utf8_lossy(text).into_owned());
    }

    /// The first columns of the rows that queries gave since this was last asked.
    pub fn answered(&mut self) -> Vec<String> {
        std::mem::take(&mut self.answered)
    }

    /// Waits until [`Wire::data`] has something to give; false at the end of the COPY.
    pub async fn fill(&mut self) -> Result<bool, Fault> {
        loop {
            match self.look()? {
                Next::Data => return Ok(true),
                Next::Unknown => self.read().await?,
                Next::Message(tag, body) => match self.take(tag, body) {
                    Some(b'c') => return Ok(false),
                    Some(tag) => return Err(self.failed.take().map_or(unexpected(tag), Fault::Server)),
                    None => {}
                },
            }
        }
    }

    /// The next bytes of rows that are there already.
    pub fn data(&mut self) -> Option<Data<'_>> {
        if self.rest == 0 {
            match self.look() {
                Ok(Next::Data) => {}
                _ => return None,
            }
            // Only now is the header consumed.
            self.rest = self.length_here()?;
            self.at += 5;
        }
        let from = self.at;
        let take = self.rest.min(self.end - from);
        if take == 0 && self.rest > 0 {
            return None;
        }
        self.at += take;
        self.rest -= take;
        let ends = self.rest == 0;
        if let Some(rows) = self.rows.as_mut().filter(|_| ends) {
            *rows += 1;
        }
        Some(Data { bytes: &self.buffer[from..from + take], ends })
    }

    /// A statement has ended, and its tag says `COPY` and how many rows were sent: as many must have been handed out.
    fn compare_rows(&mut self, tag: std::ops::Range<usize>) -> Result<(), Fault> {
        let Some(rows) = self.rows.take() else { return Ok(()) };
        let tag = String::from_utf8_lossy(&self.buffer[tag]);
        let sent = tag.trim_end_matches('\0').strip_prefix("COPY ").and_then(|n| n.parse::<u64>().ok());
        match sent {
            Some(sent) if sent.checked_add(u64::from(self.binary)) != Some(rows) => {
                Err(broken(format!("the server sent {sent} rows, {rows} were read")))
            }
            _ => Ok(()),
        }
    }

    /// Says good-bye, so that the server's log need not complain.
    pub async fn end(mut self) {
        let _ = self.io.write_all(&[b'X', 0, 0, 0, 4]).await;
        let _ = self.io.shutdown().await;
    }

    /// Length of the body of the message whose header stands next.
    fn length_here(&self) -> Option<usize> {
        let header = self.buffer.get(self.at + 1..self.at + 5).filter(|_| self.end - self.at >= 5)?;
        let length = u32::from_be_bytes(header.try_into().ok()?) as usize;
        length.checked_sub(4)
    }

    fn look(&self) -> Result<Next, Fault> {
        let there = self.end - self.at;
        if self.rest > 0 {
            return Ok(if there > 0 { Next::Data } else { Next::Unknown });
        }
        if there < 5 {
            return Ok(Next::Unknown);
        }
        let tag = self.buffer[self.at];
        let Some(length) = self.length_here() else { return Err(unexpected(tag)) };
        let whole = there >= 5 + length;
        match tag {
            b'd' if whole || length > BUFFER_BYTES / 2 => Ok(Next::Data),
            b'd' => Ok(Next::Unknown),
            _ if length > MOST_MESSAGE => Err(unexpected(tag)),
            _ if whole => Ok(Next::Message(tag, self.at + 5..self.at + 5 + length)),
            _ => Ok(Next::Unknown),
        }
    }

    /// Consumes a message that is no row. `None` for notices and changes of parameters, which are passed over, and for an error, which
    /// is kept until the server is ready again.
    fn take(&mut self, tag: u8, body: std::ops::Range<usize>) -> Option<u8> {
        self.at = body.end;
        match tag {
            b'N' | b'S' | b'A' => None,
            b'E' => {
                self.failed = Some(Said::parse(&self.buffer[body]));
                None
            }
            _ => Some(tag),
        }
    }

    async fn read(&mut self) -> Result<(), Fault> {
        self.read_more().await.map_err(|e| self.lost(e))
    }

    async fn read_more(&mut self) -> std::io::Result<()> {
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            self.at = 0;
        }
        if self.end == self.buffer.len() {
            // A message that is no row and larger than the buffer: rare, and bounded by `look`.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.io.read(&mut self.buffer[self.end..]).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }

    /// The connection broke: what the server said last counts more than how.
    fn lost(&mut self, e: std::io::Error) -> Fault {
        if let Some(said) = self.failed.take() {
            return Fault::Broken(answer::said("the server ended the connection", &said));
        }
        if let Some(stalled) = watch::stalled(&e) {
            return Fault::Broken(stalled);
        }
        let closed = Error::new(Kind::Database, "the server closed the connection unexpectedly")
            .hint("see the server's log: it was restarted, ran out of memory, or a proxy cut the connection");
        match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Fault::Broken(closed),
            _ => Fault::Broken(closed.because(e)),
        }
    }
}

fn unexpected(tag: u8) -> Fault {
    broken(format!("the server sent a message {:?} that does not belong here", char::from(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::fingerprint::Fingerprint;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag], &(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
    }

    const HALF: usize = BUFFER_BYTES / 2;

    fn refusal() -> Vec<u8> {
        message(b'E', b"SERROR\0C22012\0Mdivision by zero\0WCOPY t, line 7\0\0")
    }

    /// What a server sends for one COPY; without the end of the query.
    fn copy(rows: &[Vec<u8>], noise: &[u8]) -> Vec<u8> {
        let mut stream = message(b'H', &[0, 0, 0]);
        for (n, row) in rows.iter().enumerate() {
            match noise.get(n) {
                Some(0) => stream.extend(message(b'N', b"SNOTICE\0C00000\0Mhear, hear\0\0")),
                Some(1) => stream.extend(message(b'S', b"application_name\0other\0")),
                Some(2) => stream.extend(message(b'N', &vec![b'x'; BUFFER_BYTES + 7])),
                _ => {}
            }
            stream.extend(message(b'd', row));
        }
        stream.extend(message(b'c', b""));
        stream.extend(message(b'C', format!("COPY {}\0", rows.len()).as_bytes()));
        stream
    }

    fn through() -> Vec<u8> {
        message(b'Z', b"I")
    }

    fn direct(rows: &[Vec<u8>]) -> Fingerprint {
        let mut sum = Fingerprint::default();
        rows.iter().for_each(|row| sum.add_row(row));
        sum
    }

    fn row(length: usize, seed: usize) -> Vec<u8> {
        let text = (1..length).map(|i| b'a' + ((i * 31 + i / 997 + seed) % 26) as u8);
        text.chain([b'\n']).collect()
    }

    /// Lets a wire read a stream that arrives in pieces of these sizes, then ends. The COPYs that came whole, and how it went on.
    async fn read(stream: Vec<u8>, cuts: Vec<usize>) -> (Vec<Fingerprint>, Result<(), Fault>) {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let server = tokio::spawn(async move {
            let (mut left, mut cuts) = (stream.as_slice(), cuts.iter().cycle());
            while !left.is_empty() {
                let (now, later) = left.split_at(cuts.next().copied().unwrap_or(left.len()).clamp(1, left.len()));
                if far.write_all(now).await.is_err() {
                    break;
                }
                left = later;
            }
        });
        let mut wire = Wire::new(Box::new(near));
        let mut sums = Vec::new();
        let ended = async {
            while wire.next_copy().await? {
                let (mut sum, mut row) = (Fingerprint::default(), None);
                while wire.fill().await? {
                    while let Some(data) = wire.data() {
                        sum.add_piece(&mut row, data.bytes, data.ends).ok_or_else(|| broken("no line end"))?;
                    }
                }
                if row.is_some() {
                    return Err(broken("an open row"));
                }
                sums.push(sum);
            }
            Ok(())
        };
        let ended = ended.await;
        drop(wire);
        server.await.expect("is not aborted");
        (sums, ended)
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![
            8 => 1..40_usize,
            2 => 40..9_000_usize,
            2 => (HALF - 6)..(HALF + 6),
            1 => (BUFFER_BYTES - 8)..(BUFFER_BYTES + 8),
            1 => Just(3 * BUFFER_BYTES),
        ]
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("has a runtime");
        runtime.block_on(work)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

        #[test]
        fn rows_count_the_same_however_the_stream_is_cut(
            tables in proptest::collection::vec(proptest::collection::vec(lengths(), 0..12), 1..4),
            noise in proptest::collection::vec(0..9_u8, 12),
            cuts in proptest::collection::vec(prop_oneof![1..9_usize, 1..70_000_usize], 1..9),
            fails in 0..3_u8,
            at in 0.0..1.0_f64,
        ) {
            let tables: Vec<Vec<Vec<u8>>> =
                tables.iter().map(|rows| rows.iter().enumerate().map(|(n, &length)| row(length, n)).collect()).collect();
            let expected: Vec<Fingerprint> = tables.iter().map(|rows| direct(rows)).collect();
            let mut stream: Vec<u8> = tables.iter().flat_map(|rows| copy(rows, &noise)).collect();
            if fails == 1 {
                // In the middle of one more COPY; else before it begins.
                stream.extend(message(b'H', &[0, 0, 0]));
                stream.extend(message(b'd', &row(77, 0)));
            }
            if fails > 0 {
                stream.extend(refusal());
            }
            stream.extend(through());
            let whole = stream.len();
            // Single bytes of a long stream would only take long.
            let cuts: Vec<usize> = cuts.into_iter().map(|c| c.max(whole / 20_000)).collect();
            let (sums, ended) = run(read(stream.clone(), cuts.clone()));
            prop_assert_eq!(&sums, &expected);
            match ended {
                Err(Fault::Server(said)) => prop_assert!(fails > 0 && said.code == "22012" && said.message == "division by zero"),
                Err(e) => prop_assert!(false, "{e:?}"),
                Ok(()) => prop_assert!(fails == 0),
            }
            // A stream that ends early is never the end of the rows.
            stream.truncate((whole as f64 * at) as usize);
            let (sums, ended) = run(read(stream, cuts));
            prop_assert!(matches!(ended, Err(Fault::Broken(_))), "{ended:?}");
            prop_assert!(expected.starts_with(&sums));
        }
    }

    #[test]
    fn what_does_not_fit_the_protocol_is_an_error() {
        let rows = [row(9, 0), row(HALF + 1, 1), row(3, 2)];
        let whole = copy(&rows, &[]);
        let cases = [
            ("a row too few for the tag", [copy(&rows[1..], &[]), Vec::new()].concat(), "COPY 2", "COPY 3"),
            ("a row too many for the tag", whole.clone(), "COPY 3", "COPY 2"),
        ];
        for (what, stream, was, is) in cases {
            let at = stream.windows(6).rposition(|w| w == was.as_bytes()).expect("has a tag");
            let stream = [&stream[..at], is.as_bytes(), &stream[at + 6..], &through()].concat();
            let (_, ended) = run(read(stream, vec![1000]));
            let Err(Fault::Broken(e)) = ended else { panic!("{what}: {ended:?}") };
            assert!(e.message().contains("rows, ") && e.message().ends_with("were read"), "{e}");
        }
        let tag = message(b'C', format!("COPY {}\0", u64::MAX).as_bytes());
        let binary = [message(b'H', &[1, 0, 0]), message(b'c', b""), tag, through()].concat();
        let (_, ended) = run(read(binary, vec![1000]));
        assert!(matches!(ended, Err(Fault::Broken(_))), "more rows than a number holds: {ended:?}");
        let h = message(b'H', &[0, 0, 0]);
        for (what, stream) in [
            ("a row outside of a COPY", [message(b'd', b"1\n"), through()].concat()),
            ("an end without a beginning", [message(b'c', b""), through()].concat()),
            ("a COPY within a COPY", [h.clone(), h.clone(), through()].concat()),
            ("ready within a COPY", [h.clone(), message(b'd', b"1\n"), through()].concat()),
            ("a statement's end within a COPY", [h.clone(), message(b'C', b"COPY 0\0"), through()].concat()),
            ("a length that is none", [h.clone(), vec![b'd', 0, 0, 0, 3], through()].concat()),
            ("a row without anything", [h.clone(), message(b'd', b""), message(b'c', b""), through()].concat()),
            ("a row without a line end", [h, message(b'd', b"1"), message(b'c', b""), through()].concat()),
            ("a message of no size", [vec![b'N', 0x7f, 0, 0, 0], through()].concat()),
        ] {
            let (sums, ended) = run(read(stream, vec![1000]));
            assert!(sums.is_empty() && matches!(ended, Err(Fault::Broken(_))), "{what}: {ended:?}");
        }
    }

    #[tokio::test]
    async fn what_the_server_said_before_it_hung_up_is_told() {
        // A stream that can be read to its end, and not written to.
        let said = message(b'E', b"SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0");
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(&said).await.expect("is taken");
        drop(far);
        let mut wire = Wire::new(Box::new(near));
        let Err(Fault::Broken(e)) = wire.send("SELECT 1").await else { panic!("nobody listens") };
        assert!(e.message().contains("due to administrator command (SQLSTATE 57P01)"), "{e}");
        assert!(e.hint_text().is_some_and(|h| h.contains("server's log")), "{e:?}");
    }
}
