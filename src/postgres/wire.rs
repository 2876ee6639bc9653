//! Reading rows without an allocation per row: `COPY … TO STDOUT` over a connection that was taken over from the driver once
//! it was set up. Speaks only what that takes of the protocol
//! (<https://www.postgresql.org/docs/current/protocol-message-formats.html>).

use crate::error::{Error, Kind};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

/// Bytes that are read ahead. A message of more than half of it is handed out in pieces.
const BUFFER_BYTES: usize = 256 << 10;

/// No message but a row is longer than this.
const MOST_MESSAGE: usize = 16 << 20;

/// A stream to the server, encrypted or not.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream that can be taken away from whoever reads it. For him it has ended then.
pub(super) struct Tap<S>(Arc<Mutex<Option<S>>>);

impl<S> Tap<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Some(stream))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for Tap<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Something that a stream can be taken out of.
pub(super) trait Take: Send + Sync {
    fn take(&self) -> Option<Box<dyn Io>>;
}

impl<S: Io + 'static> Take for Tap<S> {
    fn take(&self) -> Option<Box<dyn Io>> {
        self.lock().take().map(|s| Box::new(s) as Box<dyn Io>)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        match &mut *self.lock() {
            Some(stream) => Pin::new(stream).poll_read(cx, buf),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match &mut *self.lock() {
            Some(stream) => Pin::new(stream).poll_write(cx, bytes),
            None => Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into())),
        }
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

/// What the server said when it refused.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// SQLSTATE.
    pub code: String,
    /// The message.
    pub message: String,
    /// More about it.
    pub detail: Option<String>,
    /// The server's own hint.
    pub hint: Option<String>,
    /// Where in a function or a COPY.
    pub place: Option<String>,
}

impl Said {
    /// Fields of an ErrorResponse: a type byte and a string each, zero-terminated.
    fn parse(body: &[u8]) -> Said {
        let mut said = Said::default();
        for field in body.split(|&b| b == 0) {
            let Some((kind, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match kind {
                b'C' => said.code = text,
                b'M' => said.message = text,
                b'D' => said.detail = Some(text),
                b'H' => said.hint = Some(text),
                b'W' => said.place = Some(text),
                _ => {}
            }
        }
        said
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
            Fault::Server(said) => super::connect::said(what, &said),
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
    failed: Option<Said>,
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
    pub(super) fn new(io: Box<dyn Io>) -> Self {
        Self { io, buffer: vec![0; BUFFER_BYTES], at: 0, end: 0, rest: 0, failed: None }
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
        sent.await.map_err(|e| self.lost(e))
    }

    /// Runs statements that return nothing of interest.
    pub async fn run(&mut self, sql: &str) -> Result<(), Fault> {
        self.send(sql).await?;
        match self.next_copy().await? {
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
                Next::Message(tag, body) => match self.take(tag, body) {
                    Some(b'H') => return Ok(true),
                    Some(b'Z') => return self.failed.take().map_or(Ok(false), |said| Err(Fault::Server(said))),
                    // Ends of statements, rows of a SELECT, an empty query.
                    None | Some(b'C' | b'T' | b'D' | b'I') => {}
                    Some(tag) => return Err(unexpected(tag)),
                },
            }
        }
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
        Some(Data { bytes: &self.buffer[from..from + take], ends: self.rest == 0 })
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
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            self.at = 0;
        }
        if self.end == self.buffer.len() {
            // A message that is no row and larger than the buffer: rare, and bounded by `look`.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        match self.io.read(&mut self.buffer[self.end..]).await {
            Ok(0) => Err(self.lost(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(n) => {
                self.end += n;
                Ok(())
            }
            Err(e) => Err(self.lost(e)),
        }
    }

    /// The connection broke: what the server said last counts more than how.
    fn lost(&mut self, e: std::io::Error) -> Fault {
        if let Some(said) = self.failed.take() {
            return Fault::Broken(super::connect::said("the server ended the connection", &said));
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
