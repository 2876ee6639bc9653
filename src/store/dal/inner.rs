//! What all ways to store an object share: paths, names, requests that are made at once, listings.

use super::{
    failure::{Op, explain},
    service::{Service, Way},
    transport::Transport,
};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
    store::{
        ObjectInfo, Upload, content_type,
        key::{check_key, check_prefix},
        temporary,
    },
};
use bytes::Bytes;
use opendal::{Buffer, Entry, ErrorKind, Operator, options::WriteOptions};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, Weak},
    time::SystemTime,
};
use time::OffsetDateTime;

/// Where and how a body of unknown length is put.
#[derive(Clone, Debug)]
pub(super) struct Puts {
    /// `https://host:port`.
    pub(super) endpoint: String,
    /// The whole header.
    pub(super) authorization: Option<Secret>,
}

/// A service that is spoken to.
pub(super) struct Inner {
    pub(super) op: Operator,
    pub(super) service: &'static Service,
    pub(super) base: String,
    pub(super) prefix: String,
    pub(super) transport: Transport,
    pub(super) puts: Option<Puts>,
    /// Uploads of this process that have not ended, by what [`Unfinished`] calls them.
    pub(super) begun: Mutex<BTreeMap<String, Begun>>,
    /// Held by whoever has a whole object in memory.
    pub(super) one: tokio::sync::Mutex<()>,
}

pub(super) struct Begun {
    pub(super) key: String,
    pub(super) at: OffsetDateTime,
    pub(super) upload: Weak<dyn Upload>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DalStore({})", self.base)
    }
}

impl Inner {
    pub(super) fn uri(&self, key: &str) -> String {
        format!("{}{}{key}", self.base, if self.base.ends_with('/') { "" } else { "/" })
    }

    pub(super) fn full(&self, key: &str) -> String {
        if self.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) }
    }

    /// The path as opendal is given it; an error when the store could not hold it.
    pub(super) fn checked(&self, key: &str) -> Result<String> {
        check_key(key)?;
        if self.is_temporary(key) {
            return Err(Error::new(Kind::Store, format!("object key {key:?} looks like an unfinished write")));
        }
        let full = self.full(key);
        check_key(&full)?;
        Ok(full)
    }

    pub(super) fn error(&self, op: Op, key: &str, e: &opendal::Error) -> Error {
        explain(op, &self.uri(key), e, self.service)
    }

    pub(super) fn begun(&self) -> MutexGuard<'_, BTreeMap<String, Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begins(&self, id: &str, key: &str, upload: Weak<dyn Upload>) {
        self.begun().insert(id.to_owned(), Begun { key: key.to_owned(), at: OffsetDateTime::now_utc(), upload });
    }

    pub(super) fn ended(&self, id: &str) {
        self.begun().remove(id);
    }

    /// By one request, whole or not at all.
    pub(super) async fn put(&self, key: &str, body: Bytes, new: bool) -> Result<()> {
        let full = self.checked(key)?;
        let native = self.op.info().capability();
        let cannot = |e: opendal::Error| self.error(Op::Put, key, &e);
        // Asked in any case: there are servers that let a condition pass which they do not know.
        if new && self.size(&full).await.map_err(cannot)?.is_some() {
            return Err(Error::new(Kind::Exists, format!("{} exists already", self.uri(key))));
        }
        let options = WriteOptions {
            if_not_exists: new && native.write_with_if_not_exists,
            content_type: native.write_with_content_type.then(|| content_type(key).to_owned()),
            ..WriteOptions::default()
        };
        if self.service.way != Way::Renamed {
            self.op.write_options(&full, Buffer::from(body), options).await.map_err(cannot)?;
            return Ok(());
        }
        let (temp, size) = (temporary::name(&full), body.len() as u64);
        let written = async {
            self.op.write_options(&temp, Buffer::from(body), options).await?;
            self.publish(&temp, &full, size).await
        };
        let written = written.await.map_err(cannot);
        if written.is_err() {
            let _ = self.op.delete(&temp).await;
        }
        written
    }

    /// Gives what was written its name.
    pub(super) async fn publish(&self, temp: &str, full: &str, size: u64) -> opendal::Result<()> {
        match self.size(temp).await? {
            Some(stored) if stored != size => {
                Err(opendal::Error::new(ErrorKind::Unexpected, format!("of {size} bytes the server kept {stored}")))
            }
            _ => match self.op.rename(temp, full).await {
                // The answer to a rename that was carried out may have been lost.
                Err(e) if e.kind() == ErrorKind::NotFound && self.size(full).await? == Some(size) => Ok(()),
                renamed => renamed,
            },
        }
    }

    /// The size of an object, if it is there.
    pub(super) async fn size(&self, full: &str) -> opendal::Result<Option<u64>> {
        match self.op.stat(full).await {
            Ok(meta) if meta.is_dir() => Ok(None),
            Ok(meta) => Ok(Some(meta.content_length())),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Everything below the folder of `prefix` that begins with it, by key: what is whole, or what lies under a temporary name.
    pub(super) async fn walk(&self, prefix: &str, temporary: bool) -> Result<Vec<ObjectInfo>> {
        check_prefix(prefix)?;
        let full = self.full(prefix);
        // Services without folders list by a plain prefix. With folders only those are walked through whose name begins so.
        let flat = self.service.way == Way::Parts && self.op.info().capability().list_with_recursive;
        let whole = flat || full.is_empty() || full.ends_with('/');
        let folder = full.rfind('/').map_or("", |slash| &full[..=slash]).to_owned();
        let mut from = vec![if whole { (full.clone(), true) } else { (folder, false) }];
        let mut found = Vec::new();
        while let Some((path, recursive)) = from.pop() {
            for entry in self.entries(&path, recursive).await.map_err(|e| self.error(Op::List, prefix, &e))? {
                let (path, meta) = (entry.path().trim_start_matches('/'), entry.metadata());
                if !path.starts_with(&full) {
                    continue;
                }
                if meta.is_dir() {
                    if !recursive {
                        from.push((path.to_owned(), true));
                    }
                    continue;
                }
                let Some(key) = self.key(path).filter(|key| self.is_temporary(key) == temporary) else { continue };
                let modified = match meta.last_modified() {
                    Some(modified) => Some(modified),
                    None => self.op.stat(path).await.map_err(|e| self.error(Op::List, prefix, &e))?.last_modified(),
                };
                let modified = OffsetDateTime::from(modified.map_or(SystemTime::UNIX_EPOCH, SystemTime::from));
                found.push(ObjectInfo { key: key.to_owned(), size: meta.content_length(), modified });
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    /// What a listing shows; nothing where there is no such folder.
    pub(super) async fn entries(&self, path: &str, recursive: bool) -> opendal::Result<Vec<Entry>> {
        match self.op.list_with(path).recursive(recursive).await {
            Err(e) if self.absent(&e) => Ok(Vec::new()),
            // Some servers take a file that is asked for as a folder for a bad request.
            Err(e) if self.service.way != Way::Parts => match self.size(path.trim_end_matches('/')).await {
                Ok(Some(_)) => Ok(Vec::new()),
                _ => Err(e),
            },
            listed => listed,
        }
    }

    /// Whether a listing found no such folder; where there are none, it is the container that is missing.
    fn absent(&self, e: &opendal::Error) -> bool {
        e.kind() == ErrorKind::NotFound && self.service.way != Way::Parts
    }

    fn is_temporary(&self, key: &str) -> bool {
        self.service.way == Way::Renamed && temporary::is(key)
    }

    /// A path without the prefix.
    pub(super) fn key<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() { Some(path) } else { path.strip_prefix(&self.prefix)?.strip_prefix('/') }
    }
}
