//! Where backups lie: bytes under keys behind one small trait, whatever the backend. The backends are listed in `choose`.
//!
//! Keys are relative to the destination (`app/2026/11/22/<id>/manifest.json`), with `/` between their parts.

mod choose;
pub mod copies;
mod dal;
mod key;
pub mod local;
mod lock;
mod pace;
mod parts;
mod place;
mod probe;
mod promises;
pub mod s3;
mod sftp;
mod temporary;

pub use choose::destination;
pub use copies::Copies;
pub use lock::{Lock, LockMode, Locking, Seen};
pub use parts::{MAX_PARTS, MIN_PART};
pub use place::{Destination, Env, Given, Place, open};
pub use probe::{PROBE_OF_PUTS, probe, probe_by_put};
pub use promises::Promises;

use crate::error::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use std::{fmt, ops::Range, sync::Arc};
use time::OffsetDateTime;

/// One stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Key relative to the destination.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: OffsetDateTime,
}

/// The bytes of an object (or of a range of it) as they arrive.
pub struct Reader {
    /// Size of the whole object in bytes, also when only a range was asked for.
    pub size: u64,
    /// The bytes.
    pub stream: BoxStream<'static, Result<Bytes>>,
}

impl Reader {
    /// What was read already.
    pub fn of(size: u64, bytes: Bytes) -> Self {
        Self { size, stream: Box::pin(futures_util::stream::once(std::future::ready(Ok(bytes)))) }
    }

    /// Reads all the bytes into memory: for manifests and other small objects.
    pub async fn bytes(mut self) -> Result<Bytes> {
        let mut all = Vec::new();
        while let Some(chunk) = self.stream.try_next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}

/// A place for backups. Every backend passes the same contract suite (`tests/it/store.rs`).
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The full address of a key, for people and for `aws s3 cp`: `s3://bucket/prefix/key` or a path.
    fn uri(&self, key: &str) -> String;

    /// The places that this is, where it is several.
    fn copies(&self) -> Option<Copies> {
        None
    }

    /// Stores an object in one request, whole or not at all; an existing one is replaced.
    async fn put(&self, key: &str, body: Bytes) -> Result<()>;

    /// As [`Store::put`], but fails with [`crate::error::Kind::Exists`] when the key exists.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<()>;

    /// Begins an object of many parts. Nothing is visible under the key before [`Upload::complete`].
    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>>;

    /// Reads an object, or a byte range of it. [`crate::error::Kind::NotFound`] when it is not there,
    /// [`crate::error::Kind::Archive`] when it is shorter than the range asked for.
    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader>;

    /// All objects whose key begins with `prefix` (a plain string prefix, as in S3), sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>>;

    /// As [`Store::list`], but `None` when one request cannot name them all (S3: more than 1,000): the caller then splits the work.
    async fn list_at_once(&self, prefix: &str) -> Result<Option<Vec<ObjectInfo>>> {
        self.list(prefix).await.map(Some)
    }

    /// The folders directly below `folder` (empty, or with a `/` at its end), sorted, each as a whole prefix with a `/` at its end.
    /// Objects that lie there themselves are left out.
    async fn folders(&self, folder: &str) -> Result<Vec<String>>;

    /// Where an object lies, for [`Store::copy_from`] of another place; `None` where no server copies for others.
    fn copy_source(&self, _key: &str) -> Option<CopySource> {
        None
    }

    /// Has the server copy an object of `size` bytes from another place, so that nothing of it passes this machine; false where it does
    /// not, and nothing was stored.
    async fn copy_from(&self, _source: &CopySource, _key: &str, _size: u64) -> Result<bool> {
        Ok(false)
    }

    /// Removes an object; no error when it is not there.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Removes many objects, in no certain order; no error for those that are not there. Returns the keys that stay, and why:
    /// [`crate::error::Kind::Locked`] where the store holds an object back by a retention rule of its own.
    async fn delete_many(&self, keys: &[String]) -> Vec<(String, Error)> {
        delete_each(keys, 16, |key| async move { self.delete(&key).await }).await
    }

    /// How every object of a backup is locked that is stored through this. `None`: not at all, or by a rule of the store's own.
    fn locks(&self) -> Option<Lock> {
        None
    }

    /// Whether the store can lock objects.
    async fn locking(&self) -> Result<Locking> {
        Ok(Locking::Off)
    }

    /// How the store holds an object back, as far as it tells.
    async fn lock(&self, _key: &str) -> Result<Seen> {
        Ok(Seen::default())
    }

    /// What the store said of the bytes that it took.
    fn acknowledged(&self) -> Acknowledged {
        Acknowledged::default()
    }

    /// Every unfinished upload whose key begins with `prefix`, also those of processes that are gone. Of a place whose key may only put:
    /// those that were begun through this.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>>;

    /// Drops an unfinished upload; no error when it has ended.
    async fn abort_upload(&self, upload: &Unfinished) -> Result<()>;

    /// Drops every unfinished upload whose key begins with `prefix`. Returns how many.
    async fn abort_uploads(&self, prefix: &str) -> Result<u64> {
        let mut aborted = 0;
        loop {
            let uploads = self.uploads(prefix).await?;
            if uploads.is_empty() {
                return Ok(aborted);
            }
            for upload in &uploads {
                self.abort_upload(upload).await?;
                aborted += 1;
            }
        }
    }
}

/// The media type that an object of this key is stored with: a browser shows a page only as one.
fn content_type(key: &str) -> &'static str {
    match key.rsplit('.').next() {
        Some("json") => "application/json",
        Some("html") => "text/html; charset=utf-8",
        Some("prom" | "txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Where an object lies, as a server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopySource {
    /// Which server it is.
    service: String,
    /// Bucket and key, percent-encoded.
    path: String,
}

/// Answers of a store to bodies that it was sent, where these are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// A checksum in the answer was that of the bytes. One that is another is an error.
    pub equal: u64,
    /// The answer held none that could be compared.
    pub silent: u64,
}

/// Removes objects by a request for each, several at a time; those that stay, and why.
async fn delete_each<F>(keys: &[String], at_a_time: usize, delete: impl Fn(String) -> F) -> Vec<(String, Error)>
where
    F: Future<Output = Result<()>>,
{
    // The futures stand in a list of their own: a closure that borrows each key in turn is not general enough for a trait's method.
    let deletes: Vec<_> = keys
        .iter()
        .map(|key| {
            let deleted = delete(key.clone());
            async move { deleted.await.err().map(|e| (key.clone(), e)) }
        })
        .collect();
    futures_util::stream::iter(deletes).buffer_unordered(at_a_time).filter_map(std::future::ready).collect().await
}

/// An upload that was begun and neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The key that the object is to have.
    pub key: String,
    /// When it was begun, or last written to where the store knows that.
    pub begun: OffsetDateTime,
    /// What the store calls it.
    id: String,
}

/// An object in the making. Parts are numbered from 1 without gaps and may arrive in any order and at the same time;
/// each but the last is at least 5 MiB ([`MIN_PART`]). All methods may be called from many tasks.
#[async_trait]
pub trait Upload: Send + Sync + fmt::Debug {
    /// Sends one part. `offset` is where its bytes stand in the finished object.
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()>;

    /// Makes the object visible, whole. Fails when a part is missing.
    async fn complete(&self) -> Result<()>;

    /// Drops all parts. Also right after a failed `complete`; no error when there is nothing left to drop.
    async fn abort(&self) -> Result<()>;
}
