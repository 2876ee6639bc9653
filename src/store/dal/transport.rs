//! How requests are sent: every wait has an end.
//!
//! opendal leaves that to a limit for each call, which would have to be that of the slowest line. Here a body counts how long none of it
//! was taken, and an answer how long none of it came.

use crate::store::pace::{PIECE, Pace, STALL_PARTS, Turn};
use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::{Method, Request, Response, header::CONTENT_ENCODING};
use http_body::{Body, Frame, SizeHint};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport, Result, raw::parse_content_length};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// Sends requests for opendal.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    pub(super) client: reqwest::Client,
    pub(super) stall: Duration,
}

impl Transport {
    pub(super) fn new(stall: Duration) -> reqwest::Result<Self> {
        let agent = concat!("savepoint/", env!("CARGO_PKG_VERSION"));
        Ok(Self { client: reqwest::Client::builder().connect_timeout(CONNECT).user_agent(agent).build()?, stall })
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let url = reqwest::Url::parse(&parts.uri.to_string())
            .map_err(|_| Error::new(ErrorKind::Unexpected, "the request's address is none"))?;
        let (bare, pace) = (body.is_empty(), Pace::new());
        let mut sending = self.client.request(parts.method.clone(), url).headers(parts.headers);
        if !bare {
            pace.moves(Turn::Sends);
            sending = sending.body(reqwest::Body::wrap(Pieces { left: body, pace: pace.clone() }));
        } else if parts.method == Method::GET || parts.method == Method::HEAD {
            // May be asked again.
            pace.moves(Turn::Sends);
        } else {
            pace.moves(Turn::Awaits);
        }
        let response = tokio::select! {
            answered = sending.send() => answered.map_err(failed)?,
            was_sent = pace.stands_still(self.stall) => return Err(stalled(self.stall).with_temporary(!was_sent)),
        };
        let counted = parts.method != Method::HEAD && !response.headers().contains_key(CONTENT_ENCODING);
        let length = if counted { parse_content_length(response.headers())? } else { None };
        let mut answer = Response::builder().status(response.status()).extension(parts.uri);
        if let Some(headers) = answer.headers_mut() {
            headers.clone_from(response.headers());
        }
        let coming = Coming { stream: Box::pin(response.bytes_stream()), stall: self.stall, waits: None };
        answer
            .body(HttpBody::new(coming, length))
            .map_err(|e| Error::new(ErrorKind::Unexpected, "no answer").set_source(e))
    }
}

/// A body that is handed over piece by piece.
struct Pieces {
    left: Buffer,
    pace: Pace,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        let next = self.left.chunk().len().min(PIECE);
        let piece = self.left.copy_to_bytes(next);
        self.pace.moves(if self.left.is_empty() { Turn::Awaits } else { Turn::Sends });
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// The body of an answer, which may not stand still for longer than a try may.
struct Coming {
    stream: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send + Sync>>,
    stall: Duration,
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Stream for Coming {
    type Item = Result<Buffer>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.stream.as_mut().poll_next(cx) {
                Poll::Ready(next) => {
                    self.waits = None;
                    match next {
                        Some(Ok(bytes)) if bytes.is_empty() => {}
                        next => return Poll::Ready(next.map(|read| read.map(Buffer::from).map_err(failed))),
                    }
                }
                Poll::Pending => {
                    let stall = self.stall;
                    let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall / STALL_PARTS)));
                    return match waits.as_mut().poll(cx) {
                        Poll::Ready(()) => Poll::Ready(Some(Err(stalled(stall).set_temporary()))),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }
}

/// What stood still.
pub(super) fn stalled(stall: Duration) -> Error {
    Error::new(ErrorKind::Unexpected, format!("no answer, and nothing moved for {} s", stall.as_secs()))
}

/// A request without an answer. The address is left out: it may hold a signature.
pub(super) fn failed(e: reqwest::Error) -> Error {
    let host = e.url().and_then(|u| Some(format!("{}:{}", u.host_str()?, u.port_or_known_default()?)));
    let what = match host {
        Some(host) if e.is_connect() => format!("no connection to {host}"),
        _ if e.is_body() || e.is_decode() => "the connection broke while the answer came".to_owned(),
        _ => "the request got no answer".to_owned(),
    };
    let temporary = !e.is_builder() && !e.is_redirect();
    Error::new(ErrorKind::Unexpected, what).with_temporary(temporary).set_source(e.without_url())
}
