//! Folders of an SFTP server, by the system's own ssh: `sftp://user@host:port/path`.
//!
//! Not by opendal, though it has a service for it: that one hands ssh our whole environment, with the database's password in it, takes no
//! file of known hosts, cannot link, which is how a name is taken by one writer alone, and sends a write that failed halfway a second time.
//! What it is made of speaks SFTP here as well.

mod files;
mod link;
mod server;

use super::{
    ObjectInfo, Reader, Store, Unfinished, Upload, delete_each,
    key::{check_key, check_prefix, check_range, too_short},
    parts::Parts,
    place::{Backend, Destination, Place},
    temporary,
};
use crate::error::{Error, Kind, Result};
use async_trait::async_trait;
use bytes::Bytes;
use files::{below, explain};
use futures_util::{StreamExt, stream};
use link::Link;
use server::{SCHEME, Server};
use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// As the list of backends names it.
pub(super) const BACKEND: Backend = Backend {
    noun: "an SFTP server",
    takes: |address| address.starts_with(SCHEME),
    options: &[],
    check: |given| Ok(Destination::of(Server::check(given)?)),
};

/// Bytes that are read over one handle, and how many such windows are read at a time.
const WINDOW: u64 = 2 << 20;
const WINDOWS: usize = 2;

/// Requests that delete at a time.
const DELETES: usize = 4;

#[async_trait]
impl Place for Server {
    fn label(&self) -> String {
        self.label.clone()
    }

    async fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(SftpStore { root: self.root.clone(), link: Arc::new(Link::new(self.clone())?) }))
    }
}

/// Backups in a folder of an SFTP server.
#[derive(Clone)]
struct SftpStore {
    root: String,
    link: Arc<Link>,
}

impl fmt::Debug for SftpStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SftpStore({})", self.link.server.label)
    }
}

impl SftpStore {
    fn path(&self, key: &str) -> Result<String> {
        check_key(key)?;
        if temporary::is(key) {
            return Err(Error::new(Kind::Store, format!("object key {key:?} looks like an unfinished write")));
        }
        Ok(below(&self.root, key))
    }

    async fn write(&self, key: &str, body: &Bytes, new: bool) -> Result<()> {
        let (path, uri) = (self.path(key)?, self.uri(key));
        let temp = temporary::name(&path);
        let cannot = |f| explain("cannot store", &uri, f);
        let written = async {
            files::create(&self.link, &temp).await?;
            files::write(&self.link, &temp, 0, body).await?;
            files::settle(&self.link, &temp).await
        };
        match written.await {
            Ok(size) if size == body.len() as u64 => files::publish(&self.link, &temp, &path, &uri, new).await,
            Ok(size) => {
                let _ = files::remove(&self.link, &temp, &self.root).await;
                Err(cut(&uri, body.len() as u64, size))
            }
            Err(failure) => {
                let _ = files::remove(&self.link, &temp, &self.root).await;
                Err(cannot(failure))
            }
        }
    }
}

fn cut(uri: &str, sent: u64, kept: u64) -> Error {
    Error::new(Kind::Store, format!("cannot store {uri}: of {sent} bytes the server kept {kept}"))
        .hint("check the server's free space and its log")
}

#[async_trait]
impl Store for SftpStore {
    fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.link.server.label)
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        self.write(key, &body, false).await
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        self.write(key, &body, true).await
    }

    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>> {
        let (path, uri) = (self.path(key)?, self.uri(key));
        let temp = temporary::name(&path);
        files::create(&self.link, &temp).await.map_err(|f| explain("cannot store", &uri, f))?;
        let (root, link) = (self.root.clone(), self.link.clone());
        Ok(Arc::new(SftpUpload { link, uri, root, path, temp, parts: Mutex::new(Some(Parts::new())) }))
    }

    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader> {
        let (path, uri) = (self.path(key)?, self.uri(key));
        let size = files::look(&self.link, &path).await.map_err(|f| explain("cannot read", &uri, f))?;
        let size = size.ok_or_else(|| Error::new(Kind::NotFound, format!("{uri} does not exist")))?;
        let range = range.unwrap_or(0..size);
        check_range(&uri, &range)?;
        if range.end > size {
            return Err(too_short(&uri, Some(size), &range));
        }
        let starts = (range.start..range.end).step_by(WINDOW as usize);
        let windows = starts.map(move |at| at..(at + WINDOW).min(range.end));
        let link = self.link.clone();
        let stream = stream::iter(windows).map(move |window| {
            let (link, path, uri) = (link.clone(), path.clone(), uri.clone());
            async move { files::read(&link, &path, window, &uri).await }
        });
        Ok(Reader { size, stream: Box::pin(stream.buffered(WINDOWS)) })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        check_prefix(prefix)?;
        let listed = files::walk(&self.link, &self.root, prefix, false).await;
        listed.map_err(|f| explain("cannot list", &self.uri(prefix), f))
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        check_prefix(folder)?;
        let entries = files::entries(&self.link, &below(&self.root, folder.trim_end_matches('/'))).await;
        let entries = entries.map_err(|f| explain("cannot list", &self.uri(folder), f))?;
        let dirs = entries.into_iter().filter(|(_, meta)| meta.file_type().is_some_and(|t| t.is_dir()));
        let mut found: Vec<String> = dirs.map(|(name, _)| format!("{folder}{name}/")).collect();
        found.sort_unstable();
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        let removed = files::remove(&self.link, &path, &self.root).await;
        removed.map_err(|f| explain("cannot delete", &self.uri(key), f))
    }

    async fn delete_many(&self, keys: &[String]) -> Vec<(String, Error)> {
        delete_each(keys, DELETES, |key| async move { self.delete(&key).await }).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        check_prefix(prefix)?;
        let listed = files::walk(&self.link, &self.root, prefix, true).await;
        let listed = listed.map_err(|f| explain("cannot list", &self.uri(prefix), f))?;
        let left =
            listed.into_iter().map(|o| Unfinished { key: temporary::becomes(&o.key), begun: o.modified, id: o.key });
        Ok(left.filter(|u| u.key.starts_with(prefix)).collect())
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        let removed = files::remove(&self.link, &below(&self.root, &upload.id), &self.root).await;
        removed.map_err(|f| explain("cannot abort the upload of", &self.uri(&upload.key), f))
    }
}

/// A file in the making. Parts are written where they belong, in whatever order they come.
#[derive(Debug)]
struct SftpUpload {
    link: Arc<Link>,
    uri: String,
    root: String,
    path: String,
    temp: String,
    /// `None` when the upload has ended.
    parts: Mutex<Option<Parts<()>>>,
}

impl SftpUpload {
    fn parts(&self) -> MutexGuard<'_, Option<Parts<()>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self, what: &str) -> Error {
        Error::new(Kind::Store, format!("{what} {}: the upload has ended", self.uri))
    }
}

#[async_trait]
impl Upload for SftpUpload {
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()> {
        Parts::<()>::check_number(&self.uri, number)?;
        let what = format!("cannot store part {number} of");
        if self.parts().is_none() {
            return Err(self.has_ended(&what));
        }
        let written = files::write(&self.link, &self.temp, offset, &body).await;
        written.map_err(|f| explain(&what, &self.uri, f))?;
        if let Some(parts) = self.parts().as_mut() {
            parts.0.insert(number, (offset, body.len() as u64, ()));
        }
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let total = match &*self.parts() {
            Some(parts) => parts.total(&self.uri)?,
            None => return Err(self.has_ended("cannot complete")),
        };
        let size = files::settle(&self.link, &self.temp).await;
        let size = size.map_err(|f| explain("cannot complete the upload of", &self.uri, f))?;
        if size != total {
            return Err(cut(&self.uri, total, size));
        }
        files::publish(&self.link, &self.temp, &self.path, &self.uri, false).await?;
        *self.parts() = None;
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        if self.parts().take().is_none() {
            return Ok(());
        }
        let removed = files::remove(&self.link, &self.temp, &self.root).await;
        removed.map_err(|f| explain("cannot abort the upload of", &self.uri, f))
    }
}
