//! Where backups lie: an S3 bucket or a local folder behind one small trait.
//!
//! Keys are relative to the destination (`app/2026/11/22/<id>/manifest.json`), with `/` between their parts.

use crate::error::Result;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::{fmt, ops::Range, sync::Arc};
use time::OffsetDateTime;

pub mod local;
pub mod s3;

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

/// A place for backups. Every backend passes the same contract suite (`tests/it/store.rs`).
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// The full address of a key, for people and for `aws s3 cp`: `s3://bucket/prefix/key` or a path.
    fn uri(&self, key: &str) -> String;

    /// Stores an object in one request, whole or not at all; an existing one is replaced.
    async fn put(&self, key: &str, body: Bytes) -> Result<()>;

    /// As [`Store::put`], but fails with [`crate::error::Kind::Exists`] when the key exists.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<()>;

    /// Begins an object of many parts. Nothing is visible under the key before [`Upload::complete`].
    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>>;

    /// Reads an object, or a byte range of it. [`crate::error::Kind::NotFound`] when it is not there.
    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader>;

    /// All objects whose key begins with `prefix` (a plain string prefix, as in S3), sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>>;

    /// Removes an object; no error when it is not there.
    async fn delete(&self, key: &str) -> Result<()>;
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

/// The smallest part that S3 takes, but for the last one, in bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const MIN_PART: u64 = 5 * 1024 * 1024;

/// The highest part number that S3 takes (same source).
pub const MAX_PARTS: u32 = 10_000;
