//! Where backups lie: an S3 bucket or a local folder behind one small trait.
//!
//! Keys are relative to the destination (`app/2026/11/22/<id>/manifest.json`), with `/` between their parts.

use crate::{
    error::{Error, Kind, Result},
    store::s3::S3Options,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream::BoxStream};
use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf, sync::Arc};
use time::OffsetDateTime;

/// A place for backups.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A local folder.
    Local(PathBuf),
    /// An S3 bucket.
    S3(S3Options),
}

pub mod local;
pub mod s3;

impl Destination {
    /// The place as people read it; holds no secret.
    pub fn label(&self) -> String {
        match self {
            Destination::Local(path) => path.display().to_string(),
            Destination::S3(s3) => format!("s3://{}/{}", s3.bucket, s3.prefix),
        }
    }

    /// The endpoint that a command for another shell must name.
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Destination::S3(s3) => s3.endpoint.as_deref(),
            Destination::Local(_) => None,
        }
    }
}

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

    /// Removes an object; no error when it is not there.
    async fn delete(&self, key: &str) -> Result<()>;

    /// Removes many objects, in no certain order; no error for those that are not there. Returns the keys that stay, and why:
    /// [`crate::error::Kind::Locked`] where the store holds an object back by a retention rule of its own.
    async fn delete_many(&self, keys: &[String]) -> Vec<(String, Error)> {
        delete_each(self, keys).await
    }

    /// Every unfinished upload whose key begins with `prefix`, also those of processes that are gone.
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

/// Removes objects by a request for each, several at a time; those that stay, and why.
async fn delete_each<S: Store + ?Sized>(store: &S, keys: &[String]) -> Vec<(String, Error)> {
    // The futures stand in a list of their own: a closure that borrows each key in turn is not general enough for a trait's method.
    let deletes: Vec<_> =
        keys.iter().map(|key| async move { store.delete(key).await.err().map(|e| (key.clone(), e)) }).collect();
    futures_util::stream::iter(deletes).buffer_unordered(16).filter_map(std::future::ready).collect().await
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

/// The smallest part that S3 takes, but for the last one, in bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const MIN_PART: u64 = 5 * 1024 * 1024;

/// The highest part number that S3 takes (same source).
pub const MAX_PARTS: u32 = 10_000;

/// The longest key that S3 takes, in bytes of UTF-8
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
const MAX_KEY: usize = 1024;

/// Opens the place that a destination names. A local folder is created when it is missing; of S3 nothing is asked yet.
pub async fn open(destination: &Destination) -> Result<Arc<dyn Store>> {
    Ok(match destination {
        Destination::Local(root) => Arc::new(local::LocalStore::open(root).await?),
        Destination::S3(options) => Arc::new(s3::S3Store::open(options).await?),
    })
}

/// Tries everything that a backup will do with the store: writes a small object of a random name under `prefix_key`
/// (which may be empty), reads it back, lists it, begins an upload in parts and aborts it, and deletes the object.
///
/// A step that fails is an error that names the missing permission. Only a delete that fails is no error but a returned
/// warning: a role that may add backups but not remove any is a sound choice in production.
pub async fn probe(store: &dyn Store, prefix_key: &str) -> Result<Vec<String>> {
    let name = format!("savepoint-probe-{}", uuid::Uuid::new_v4().simple());
    let key = match prefix_key.trim_matches('/') {
        "" => name,
        prefix => format!("{prefix}/{name}"),
    };
    store.put(&key, Bytes::from_static(PROBE)).await.map_err(|e| e.context("the destination cannot be written"))?;
    let tried = probe_rest(store, &key).await;
    let deleted = store.delete(&key).await;
    tried?;
    Ok(match deleted {
        Ok(()) => Vec::new(),
        Err(e) => vec![format!(
            "objects cannot be deleted: {}; backups will be stored, but the leftovers of a failed one, and this probe, stay",
            e.one_line()
        )],
    })
}

const PROBE: &[u8] =
    b"savepoint: may this destination be written, read, listed and deleted? this object can be removed\n";

async fn probe_rest(store: &dyn Store, key: &str) -> Result<()> {
    let unreadable = |e: Error| e.context("the destination cannot be read");
    let read = store.open(key, None).await.map_err(unreadable)?.bytes().await.map_err(unreadable)?;
    if read != PROBE {
        return Err(Error::new(Kind::Store, format!("{} does not hold the bytes just written to it", store.uri(key)))
            .hint("check what stands between this machine and the destination: a proxy or a cache?"));
    }
    let listed = store.list(key).await.map_err(|e| e.context("the destination cannot be listed"))?;
    if !listed.iter().any(|o| o.key == key && o.size == PROBE.len() as u64) {
        return Err(Error::new(Kind::Store, format!("{} was just written but is not listed", store.uri(key)))
            .hint("the destination's listing must show new objects at once"));
    }
    let parts_key = format!("{key}-parts");
    let no_parts = |e: Error| e.context("the destination takes no upload in parts");
    let upload = store.create_upload(&parts_key).await.map_err(no_parts)?;
    let sent = upload.put_part(1, 0, Bytes::from_static(PROBE)).await;
    let aborted = upload.abort().await;
    sent.map_err(no_parts)?;
    aborted.map_err(|e| e.context("an upload in parts cannot be aborted"))
}

/// Refuses keys that could leave the destination or that a backend could not hold.
fn check_key(key: &str) -> Result<()> {
    let reason = if key.is_empty() {
        "is empty"
    } else if key.len() > MAX_KEY {
        "is longer than 1024 bytes"
    } else if key.chars().any(char::is_control) {
        "holds a control character"
    } else if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "holds an empty, `.` or `..` part"
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Store, format!("object key {key:?} {reason}")))
}

/// As [`check_key`] for the prefix of a listing, which may be empty or end anywhere.
fn check_prefix(prefix: &str) -> Result<()> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.is_empty() && !prefix.starts_with('/') { Ok(()) } else { check_key(folder) }
}

/// Refuses a range whose end stands before its start.
fn check_range(uri: &str, range: &Range<u64>) -> Result<()> {
    if range.start <= range.end {
        return Ok(());
    }
    Err(Error::new(Kind::Store, format!("cannot read bytes {}..{} of {uri}: not a range", range.start, range.end)))
}

/// The error for an object that ends before the range that was asked for.
fn too_short(uri: &str, size: Option<u64>, range: &Range<u64>) -> Error {
    let size = size.map_or(String::new(), |n| format!(" holds {n} bytes and"));
    Error::new(Kind::Archive, format!("{uri}{size} ends before byte {} that should be there", range.end))
}

/// What is known of the parts of an upload: number -> offset, length, and what the backend needs to remember.
#[derive(Debug)]
struct Parts<T>(BTreeMap<u32, (u64, u64, T)>);

impl<T> Parts<T> {
    fn new() -> Self {
        Parts(BTreeMap::new())
    }

    fn check_number(uri: &str, number: u32) -> Result<()> {
        if (1..=MAX_PARTS).contains(&number) {
            return Ok(());
        }
        Err(Error::new(Kind::Store, format!("part {number} of {uri} is not in 1 to {MAX_PARTS}")))
    }

    /// The size of the whole object, when the parts tile it.
    fn total(&self, uri: &str) -> Result<u64> {
        let incomplete = |why: String| Error::new(Kind::Store, format!("cannot complete {uri}: {why}"));
        let (mut number, mut end) = (0, 0);
        for (&n, &(offset, len, _)) in &self.0 {
            number += 1;
            if n != number {
                return Err(incomplete(format!("part {number} is missing")));
            }
            if offset != end {
                return Err(incomplete(format!("part {n} begins at byte {offset}, not at {end}")));
            }
            end = offset + len;
        }
        if number == 0 { Err(incomplete("it has no parts".into())) } else { Ok(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_the_destination() {
        for good in ["a", "app/2026/x y+z%20/ü.gz", ".hidden", "a..b/c"] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "/etc/passwd", "a/", "a//b", "..", "a/../b", "./a", "a\nb", "a\0", &"x".repeat(1025)] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
        for good in ["", "app", "app/", "app/20", ".."] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["/", "/etc", "../", "a/../b", "a//b"] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_must_tile_the_object() {
        let parts = |list: &[(u32, u64, u64)]| {
            Parts(list.iter().map(|&(n, offset, len)| (n, (offset, len, ()))).collect())
                .total("x")
                .map_err(|e| e.one_line())
        };
        assert_eq!(parts(&[(2, 5, 7), (1, 0, 5)]), Ok(12));
        assert_eq!(parts(&[(1, 0, 0)]), Ok(0));
        assert_eq!(parts(&[]), Err("cannot complete x: it has no parts".into()));
        assert_eq!(parts(&[(1, 0, 5), (3, 5, 5)]), Err("cannot complete x: part 2 is missing".into()));
        assert_eq!(parts(&[(2, 0, 5)]), Err("cannot complete x: part 1 is missing".into()));
        assert_eq!(parts(&[(1, 0, 5), (2, 6, 5)]), Err("cannot complete x: part 2 begins at byte 6, not at 5".into()));
    }
}
