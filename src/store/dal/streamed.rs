//! Objects of many parts for WebDAV, which knows neither parts nor appending, and whose writer in opendal takes an object in one piece of
//! memory: one PUT whose body goes on for as long as parts come, under a temporary name, and a MOVE at the end.

use super::{
    failure::Op,
    inner::Inner,
    ordered::{Ordered, Sequence},
    transport::{failed, stalled},
};
use crate::{
    error::Result,
    store::{
        Upload,
        pace::{Pace, Turn},
        temporary,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, header::AUTHORIZATION};
use http_body::{Body, Frame};
use opendal::{ErrorKind, raw::percent_encode_path};
use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle};

/// Bytes that are handed over at a time, and how many such pieces may wait to be sent.
const BITE: usize = 1 << 20;
const WAITING: usize = 4;

/// Whether what was dropped is there again: a server may carry a request that was broken off to its end.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

pub(super) async fn begin(store: &Arc<Inner>, key: &str, full: String) -> Result<Arc<dyn Upload>> {
    let temp = temporary::name(&full);
    if let Some((folder, _)) = full.rsplit_once('/') {
        let made = store.op.create_dir(&format!("{folder}/")).await;
        made.map_err(|e| store.error(Op::Put, key, &e))?;
    }
    let id = store.key(&temp).unwrap_or(&temp).to_owned();
    let (sender, coming) = mpsc::channel(WAITING);
    let put = tokio::spawn(put(store.clone(), temp.clone(), coming));
    let sequence = Streamed { store: store.clone(), full, temp, sender: Some(sender), put: Some(put) };
    Ok(Ordered::begin(store, key, id, Box::new(sequence)))
}

/// Sends the body, however long it goes on.
async fn put(store: Arc<Inner>, temp: String, coming: mpsc::Receiver<Bytes>) -> opendal::Result<()> {
    let Some(puts) = &store.puts else {
        return Err(opendal::Error::new(ErrorKind::Unsupported, "no upload in parts"));
    };
    let url = format!("{}/{}", puts.endpoint, percent_encode_path(&temp));
    let pace = Pace::new();
    let body = reqwest::Body::wrap(Coming { coming, pace: pace.clone() });
    let mut request = store.transport.client.put(url).body(body);
    if let Some(authorization) = &puts.authorization {
        request = request.header(AUTHORIZATION, authorization.expose());
    }
    let answer = tokio::select! {
        answer = request.send() => answer.map_err(failed)?,
        _ = pace.stands_still(store.transport.stall) => return Err(stalled(store.transport.stall)),
    };
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let kind = match status {
        StatusCode::FORBIDDEN => ErrorKind::PermissionDenied,
        StatusCode::NOT_FOUND | StatusCode::CONFLICT => ErrorKind::NotFound,
        _ => ErrorKind::Unexpected,
    };
    let hint = if status == StatusCode::LENGTH_REQUIRED { "it takes no body of unknown length" } else { "" };
    Err(opendal::Error::new(kind, hint).with_context("response", format!("status: {}", status.as_u16())))
}

/// A body that comes piece by piece.
struct Coming {
    coming: mpsc::Receiver<Bytes>,
    pace: Pace,
}

impl Body for Coming {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        match self.coming.poll_recv(cx) {
            Poll::Ready(Some(piece)) => {
                self.pace.moves(Turn::Sends);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            Poll::Ready(None) => {
                self.pace.moves(Turn::Awaits);
                Poll::Ready(None)
            }
            // It is the dump that is slow.
            Poll::Pending => {
                self.pace.moves(Turn::Ours);
                Poll::Pending
            }
        }
    }
}

struct Streamed {
    store: Arc<Inner>,
    full: String,
    temp: String,
    sender: Option<mpsc::Sender<Bytes>>,
    put: Option<JoinHandle<opendal::Result<()>>>,
}

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Streamed({})", self.temp)
    }
}

impl Streamed {
    /// How the request ended.
    async fn ended(&mut self) -> opendal::Result<()> {
        let broken = |what: &str| opendal::Error::new(ErrorKind::Unexpected, what.to_owned());
        match self.put.take() {
            Some(put) => put.await.map_err(|_| broken("it was broken off"))?,
            None => Err(broken("it has ended")),
        }
    }
}

#[async_trait]
impl Sequence for Streamed {
    async fn write(&mut self, mut body: Bytes) -> opendal::Result<()> {
        while !body.is_empty() {
            let piece = body.split_to(body.len().min(BITE));
            let taken = match &self.sender {
                Some(sender) => sender.send(piece).await.is_ok(),
                None => false,
            };
            if !taken {
                self.sender = None;
                let said = "the server answered before all was sent";
                return self.ended().await.and(Err(opendal::Error::new(ErrorKind::Unexpected, said)));
            }
        }
        Ok(())
    }

    async fn close(&mut self, total: u64) -> opendal::Result<()> {
        self.sender = None;
        self.ended().await?;
        self.store.publish(&self.temp, &self.full, total).await
    }

    async fn abort(&mut self) -> opendal::Result<()> {
        if let Some(put) = self.put.take() {
            // Before the end of the body, which would make it a whole one.
            put.abort();
            let _ = put.await;
        }
        self.sender = None;
        self.store.op.delete(&self.temp).await?;
        tokio::time::sleep(LOOK_AGAIN).await;
        match self.store.size(&self.temp).await? {
            Some(_) => self.store.op.delete(&self.temp).await,
            None => Ok(()),
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if let Some(put) = &self.put {
            put.abort();
        }
    }
}
