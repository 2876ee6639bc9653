//! Objects of many parts for services that take an object in one request alone: the parts wait in an unnamed file of this machine, and one
//! object at a time is read into memory and sent.

use super::{failure::Op, inner::Inner};
use crate::{
    error::{Error, Kind, Result, io, joined},
    store::{Upload, content_type, parts::Parts},
};
use async_trait::async_trait;
use bytes::Bytes;
use opendal::{Buffer, options::WriteOptions};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

pub(super) fn begin(store: &Arc<Inner>, key: &str, full: String) -> Result<Arc<dyn Upload>> {
    let file = tempfile::tempfile().map_err(io(format!("cannot keep the parts of {}", store.uri(key))))?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let waiting = Waiting { file: Arc::new(file), parts: Parts::new() };
    let (store_of, key_of, id_of) = (store.clone(), key.to_owned(), id.clone());
    let upload = Arc::new(Whole { store: store_of, key: key_of, full, id: id_of, waiting: Mutex::new(Some(waiting)) });
    let weak: Weak<dyn Upload> = Arc::downgrade(&(upload.clone() as Arc<dyn Upload>));
    store.begins(&id, key, weak);
    Ok(upload)
}

#[derive(Debug)]
struct Whole {
    store: Arc<Inner>,
    key: String,
    full: String,
    id: String,
    /// `None` when the upload has ended.
    waiting: Mutex<Option<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    file: Arc<File>,
    parts: Parts<()>,
}

impl Whole {
    fn waiting(&self) -> MutexGuard<'_, Option<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self, what: &str) -> Error {
        Error::new(Kind::Store, format!("{what} {}: the upload has ended", self.store.uri(&self.key)))
    }
}

#[async_trait]
impl Upload for Whole {
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()> {
        let uri = self.store.uri(&self.key);
        Parts::<()>::check_number(&uri, number)?;
        let (largest, len) = (self.store.service.promises.largest, body.len() as u64);
        if let Some(largest) = largest.filter(|largest| offset + len > *largest) {
            let what = format!("{uri} is larger than {} MiB, which is all that is sent at once", largest >> 20);
            return Err(Error::new(Kind::Store, what)
                .hint("name another destination for this database, or leave its largest tables out"));
        }
        let file = {
            let waiting = self.waiting();
            let open = waiting.as_ref();
            open.ok_or_else(|| self.has_ended(&format!("cannot store part {number} of")))?.file.clone()
        };
        let kept = move || file.write_all_at(&body, offset).map_err(io(format!("cannot keep a part of {uri}")));
        joined("keeping a part", tokio::task::spawn_blocking(kept).await)?;
        if let Some(open) = self.waiting().as_mut() {
            open.parts.0.insert(number, (offset, len, ()));
        }
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let uri = self.store.uri(&self.key);
        let (file, total) = {
            let waiting = self.waiting();
            let open = waiting.as_ref().ok_or_else(|| self.has_ended("cannot complete"))?;
            (open.file.clone(), open.parts.total(&uri)?)
        };
        let _one = self.store.one.lock().await;
        let read = move || {
            let mut whole = vec![0; usize::try_from(total).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut whole, 0).map_err(io(format!("cannot read the parts of {uri}")))?;
            Ok(Bytes::from(whole))
        };
        let whole = joined("reading the parts", tokio::task::spawn_blocking(read).await)?;
        let typed = self.store.op.info().capability().write_with_content_type;
        let content_type = typed.then(|| content_type(&self.key).to_owned());
        let options = WriteOptions { content_type, ..WriteOptions::default() };
        let written = self.store.op.write_options(&self.full, Buffer::from(whole), options).await;
        written.map_err(|e| self.store.error(Op::Complete, &self.key, &e))?;
        *self.waiting() = None;
        self.store.ended(&self.id);
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        *self.waiting() = None;
        self.store.ended(&self.id);
        Ok(())
    }
}
