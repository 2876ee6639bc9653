//! An object in the making in several places.

use super::Copies;
use crate::{
    error::{Error, Kind, Result},
    store::{Store, Upload, parts::Parts},
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// The upload of each place that took its beginning.
pub(super) struct CopiesUpload {
    copies: Copies,
    key: String,
    uploads: BTreeMap<usize, Arc<dyn Upload>>,
    /// What was sent. A part that is missing or comes too late is no fault of a place.
    parts: Mutex<Parts<()>>,
    ended: AtomicBool,
}

impl fmt::Debug for CopiesUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.uploads.values()).finish()
    }
}

impl CopiesUpload {
    pub(super) fn new(copies: Copies, key: &str, uploads: BTreeMap<usize, Arc<dyn Upload>>) -> Self {
        Self { copies, key: key.to_owned(), uploads, parts: Mutex::new(Parts::new()), ended: AtomicBool::new(false) }
    }

    fn uri(&self) -> String {
        self.copies.uri(&self.key)
    }

    fn parts(&self) -> MutexGuard<'_, Parts<()>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> Result<()> {
        if !self.ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::new(Kind::Store, format!("cannot write {}: the upload has ended", self.uri())))
    }

    async fn each<F>(&self, act: impl Fn(Arc<dyn Upload>) -> F) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let act = |n, _| {
            let acting = self.uploads.get(&n).map(|upload| act(upload.clone()));
            async move {
                match acting {
                    Some(acting) => acting.await,
                    None => Ok(()),
                }
            }
        };
        self.copies.each(act).await.map(drop)
    }
}

#[async_trait]
impl Upload for CopiesUpload {
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()> {
        Parts::<()>::check_number(&self.uri(), number)?;
        self.goes_on()?;
        let length = body.len() as u64;
        let put = |upload: Arc<dyn Upload>| {
            let body = body.clone();
            async move { upload.put_part(number, offset, body).await }
        };
        self.each(put).await?;
        self.parts().0.insert(number, (offset, length, ()));
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        self.goes_on()?;
        self.parts().total(&self.uri())?;
        self.each(|upload| async move { upload.complete().await }).await
    }

    /// Also where the place is lost.
    async fn abort(&self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        let aborted = join_all(self.uploads.values().map(|upload| upload.abort())).await;
        aborted.into_iter().collect()
    }
}
