//! Objects whose parts must be sent in their order, though they come in any: a part that is early waits, unacknowledged, for those
//! before it. Whoever hands parts over has all earlier ones on their way, so none waits for ever; it is let go when the upload fails or ends.

use super::{
    failure::{Op, explain},
    inner::Inner,
};
use crate::{
    error::{Error, Kind, Result},
    store::{Upload, content_type, parts::Parts},
};
use async_trait::async_trait;
use bytes::Bytes;
use opendal::{Buffer, ErrorKind, Writer, options::WriteOptions};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::sync::watch;

/// Bytes of an upload that opendal sends at a time. It acknowledges them before they are sent, and one part more: with parts of 8 MiB an
/// upload holds 32 MiB at most beside what the run counts.
const AHEAD: usize = 24 << 20;

/// What takes bytes in their order.
#[async_trait]
pub(super) trait Sequence: Send + fmt::Debug {
    async fn write(&mut self, body: Bytes) -> opendal::Result<()>;

    /// Makes the object of `total` bytes visible.
    async fn close(&mut self, total: u64) -> opendal::Result<()>;

    /// Drops what was written.
    async fn abort(&mut self) -> opendal::Result<()>;
}

/// An object in the making.
#[derive(Debug)]
pub(super) struct Ordered {
    store: Arc<Inner>,
    key: String,
    /// What the list of unfinished uploads calls it.
    id: String,
    parts: Mutex<Parts<()>>,
    /// The number of the part that is sent next; 0 when none is taken any more.
    next: watch::Sender<u32>,
    /// `None` when the upload has ended.
    sequence: tokio::sync::Mutex<Option<Box<dyn Sequence>>>,
}

impl Ordered {
    pub(super) fn begin(store: &Arc<Inner>, key: &str, id: String, sequence: Box<dyn Sequence>) -> Arc<dyn Upload> {
        let upload = Arc::new(Ordered {
            store: store.clone(),
            key: key.to_owned(),
            id: id.clone(),
            parts: Mutex::new(Parts::new()),
            next: watch::Sender::new(1),
            sequence: tokio::sync::Mutex::new(Some(sequence)),
        });
        let weak: Weak<dyn Upload> = Arc::downgrade(&(upload.clone() as Arc<dyn Upload>));
        store.begins(&id, key, weak);
        upload
    }

    fn parts(&self) -> MutexGuard<'_, Parts<()>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uri(&self) -> String {
        self.store.uri(&self.key)
    }

    fn has_ended(&self, what: &str) -> Error {
        Error::new(Kind::Store, format!("{what} {}: the upload has ended", self.uri()))
    }

    fn error(&self, op: Op, e: &opendal::Error) -> Error {
        explain(op, &self.uri(), e, self.store.service)
    }
}

#[async_trait]
impl Upload for Ordered {
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()> {
        Parts::<()>::check_number(&self.uri(), number)?;
        let mut next = self.next.subscribe();
        let ended = || self.has_ended(&format!("cannot store part {number} of"));
        if *next.borrow() == 0 {
            return Err(ended());
        }
        self.parts().0.insert(number, (offset, body.len() as u64, ()));
        let turn = *next.wait_for(|next| *next == 0 || *next >= number).await.map_err(|_| ended())?;
        if turn == 0 {
            return Err(ended());
        }
        let mut sequence = self.sequence.lock().await;
        let open = sequence.as_mut().ok_or_else(ended)?;
        if *self.next.borrow() != number {
            return Err(Error::new(Kind::Store, format!("part {number} of {} was sent already", self.uri())));
        }
        let written = open.write(body).await.map_err(|e| self.error(Op::PutPart(number), &e));
        self.next.send_replace(if written.is_ok() { number + 1 } else { 0 });
        written
    }

    async fn complete(&self) -> Result<()> {
        let uri = self.uri();
        let (total, count) = {
            let parts = self.parts();
            (parts.total(&uri)?, parts.0.len() as u32)
        };
        let mut sequence = self.sequence.lock().await;
        let open = sequence.as_mut().ok_or_else(|| self.has_ended("cannot complete"))?;
        if *self.next.borrow() != count + 1 {
            return Err(Error::new(Kind::Store, format!("cannot complete {uri}: not all of its parts were stored")));
        }
        self.next.send_replace(0);
        if let Err(e) = open.close(total).await {
            // The answer to a completion that worked may have been lost.
            let stands = self.store.size(&self.store.full(&self.key)).await.is_ok_and(|size| size == Some(total));
            if !stands {
                return Err(self.error(Op::Complete, &e));
            }
        }
        *sequence = None;
        self.store.ended(&self.id);
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        self.next.send_replace(0);
        let Some(mut open) = self.sequence.lock().await.take() else { return Ok(()) };
        let aborted = open.abort().await;
        self.store.ended(&self.id);
        match aborted {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => Ok(()),
            aborted => aborted.map_err(|e| self.error(Op::Abort, &e)),
        }
    }
}

/// By the service's own upload in parts.
pub(super) fn begin(store: &Arc<Inner>, key: &str, full: String) -> Arc<dyn Upload> {
    let id = uuid::Uuid::new_v4().simple().to_string();
    let sequence = InParts { store: store.clone(), full, writer: None };
    Ordered::begin(store, key, id, Box::new(sequence))
}

struct InParts {
    store: Arc<Inner>,
    full: String,
    writer: Option<Writer>,
}

impl fmt::Debug for InParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InParts({})", self.full)
    }
}

#[async_trait]
impl Sequence for InParts {
    async fn write(&mut self, body: Bytes) -> opendal::Result<()> {
        if self.writer.is_none() {
            // All parts but the last have one size.
            let concurrent = (AHEAD / body.len().max(1)).clamp(1, 3);
            let typed = self.store.op.info().capability().write_with_content_type;
            let content_type = typed.then(|| content_type(&self.full).to_owned());
            let if_not_exists = self.store.service.parts_if_new;
            let options = WriteOptions { concurrent, content_type, if_not_exists, ..WriteOptions::default() };
            self.writer = Some(self.store.op.writer_options(&self.full, options).await?);
        }
        match &mut self.writer {
            Some(writer) => writer.write(Buffer::from(body)).await,
            None => Ok(()),
        }
    }

    async fn close(&mut self, _: u64) -> opendal::Result<()> {
        match &mut self.writer {
            Some(writer) => writer.close().await.map(drop),
            None => Ok(()),
        }
    }

    async fn abort(&mut self) -> opendal::Result<()> {
        match &mut self.writer {
            Some(writer) => writer.abort().await,
            None => Ok(()),
        }
    }
}
