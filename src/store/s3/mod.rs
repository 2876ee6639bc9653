//! The S3 backend, for AWS and its clones, by the AWS SDK.

mod acknowledged;
mod bucket;
mod copy;
mod delete;
mod failure;
mod http;
mod list;
mod lock;
mod moving;
mod options;
mod read;
mod upload;
mod write;

pub use options::{KEY_ID, Keys, PROFILE, S3Checksums, S3Options, SECRET_KEY, SESSION_TOKEN};

use super::{
    Acknowledged, CopySource, Lock, Locking, ObjectInfo, Reader, Seen, Store, Unfinished, Upload,
    place::{Backend, Destination, Place},
};
use crate::{
    error::{Error, Result},
    secret::Secret,
};
use async_trait::async_trait;
use bucket::Bucket;
use bytes::Bytes;
use std::{fmt, ops::Range, sync::Arc};

/// As the list of backends names it.
pub(super) const BACKEND: Backend = Backend {
    noun: "a bucket",
    takes: |address| address.starts_with(options::SCHEME),
    options: options::OURS,
    check: |given| Ok(Destination::s3(S3Options::check(given)?)),
};

impl Destination {
    /// An S3 bucket.
    pub fn s3(options: S3Options) -> Self {
        Destination::of(options)
    }
}

#[async_trait]
impl Place for S3Options {
    fn label(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    fn options(&self) -> Vec<(&'static str, String)> {
        let endpoint = self.endpoint.iter().map(|endpoint| ("s3-endpoint", endpoint.clone()));
        let roots = self.roots.iter().map(|roots| ("ca-file", roots.file().display().to_string()));
        endpoint.chain(roots).collect()
    }

    async fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(S3Store::open(self).await?))
    }
}

/// Backups in an S3 bucket.
#[derive(Clone)]
pub struct S3Store(Arc<Bucket>);

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({})", self.0.uri(""))
    }
}

impl S3Store {
    /// Prepares access with credentials (and, when it is not named, the region) from the SDK's own chain: environment,
    /// profile, OIDC web identity, container, instance. Nothing is asked of the server yet.
    pub async fn open(options: &S3Options) -> Result<Self> {
        Ok(Self(Arc::new(Bucket::connect(options).await?)))
    }

    /// As [`Store::copy_from`], in parts of `part` bytes, at least 5 MiB.
    ///
    /// # Errors
    /// As [`Store::copy_from`].
    pub async fn copy_in_parts(&self, source: &CopySource, key: &str, size: u64, part: u64) -> Result<bool> {
        self.0.copy_from(source, key, size, part).await
    }

    /// As [`S3Store::open`], with a fixed access key in place of the SDK's chain.
    pub fn with_credentials(options: &S3Options, access_key: &str, secret: Secret) -> Result<Self> {
        Ok(Self(Arc::new(Bucket::with_credentials(options, access_key, secret)?)))
    }
}

#[async_trait]
impl Store for S3Store {
    fn uri(&self, key: &str) -> String {
        self.0.uri(key)
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        self.0.put(key, body).await
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        self.0.put_new(key, body).await
    }

    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>> {
        self.0.create_upload(key).await
    }

    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader> {
        self.0.open(key, range).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        self.0.list(prefix).await
    }

    async fn list_at_once(&self, prefix: &str) -> Result<Option<Vec<ObjectInfo>>> {
        self.0.list_at_once(prefix).await
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        self.0.folders(folder).await
    }

    fn copy_source(&self, key: &str) -> Option<CopySource> {
        Some(self.0.copy_source(key))
    }

    async fn copy_from(&self, source: &CopySource, key: &str, size: u64) -> Result<bool> {
        self.0.copied_from(source, key, size).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.0.delete(key).await
    }

    async fn delete_many(&self, keys: &[String]) -> Vec<(String, Error)> {
        self.0.delete_many(keys).await
    }

    fn locks(&self) -> Option<Lock> {
        self.0.lock.clone()
    }

    async fn locking(&self) -> Result<Locking> {
        self.0.locking().await
    }

    async fn lock(&self, key: &str) -> Result<Seen> {
        self.0.lock_of(key).await
    }

    fn acknowledged(&self) -> Acknowledged {
        self.0.answers.counted()
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        self.0.uploads(prefix).await
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        self.0.abort(&upload.key, &self.0.full_key(&upload.key), &upload.id).await
    }
}
