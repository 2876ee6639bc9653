//! The store that the engine sees.

use super::{failure::Op, inner::Inner, ordered, service::Way, streamed, whole};
use crate::{
    error::{Error, Kind, Result},
    store::{
        ObjectInfo, Reader, Store, Unfinished, Upload,
        key::{check_prefix, check_range, too_short},
        temporary,
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use opendal::ErrorKind;
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Backups behind opendal.
#[derive(Clone, Debug)]
pub(super) struct DalStore(pub(super) Arc<Inner>);

#[async_trait]
impl Store for DalStore {
    fn uri(&self, key: &str) -> String {
        self.0.uri(key)
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        self.0.put(key, body, false).await
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        self.0.put(key, body, true).await
    }

    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>> {
        let full = self.0.checked(key)?;
        match self.0.service.way {
            Way::Parts => Ok(ordered::begin(&self.0, key, full)),
            Way::Renamed => streamed::begin(&self.0, key, full).await,
            Way::Whole => whole::begin(&self.0, key, full),
        }
    }

    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader> {
        let (store, full, uri) = (self.0.clone(), self.0.checked(key)?, self.0.uri(key));
        let size = store.size(&full).await.map_err(|e| store.error(Op::Look, key, &e))?;
        let size = size.ok_or_else(|| Error::new(Kind::NotFound, format!("{uri} does not exist")))?;
        let range = range.unwrap_or(0..size);
        check_range(&uri, &range)?;
        if range.end > size {
            return Err(too_short(&uri, Some(size), &range));
        }
        if range.is_empty() {
            return Ok(Reader { size, stream: Box::pin(stream::empty()) });
        }
        let cannot = |e: opendal::Error| store.error(Op::Get, key, &e);
        let reader = store.op.reader_with(&full).content_length_hint(size).await.map_err(cannot)?;
        let coming = reader.into_stream(range.clone()).await.map_err(cannot)?;
        let (left, key) = (range.end - range.start, key.to_owned());
        let read = stream::try_unfold((coming, left, store), move |(mut coming, left, store)| {
            let (key, uri, range) = (key.clone(), uri.clone(), range.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                match coming.try_next().await.map_err(|e| store.error(Op::Get, &key, &e))? {
                    // The object was replaced by a shorter one while it was being read.
                    None => Err(too_short(&uri, None, &range)),
                    Some(bytes) => {
                        let mut bytes = bytes.to_bytes();
                        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                        let left = left - bytes.len() as u64;
                        Ok(Some((bytes, (coming, left, store))))
                    }
                }
            }
        });
        Ok(Reader { size, stream: Box::pin(read) })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        self.0.walk(prefix, false).await
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        check_prefix(folder)?;
        let full = self.0.full(folder);
        let cannot = |e: opendal::Error| self.0.error(Op::List, folder, &e);
        let entries = self.0.entries(&full, false).await.map_err(cannot)?;
        let below = |path: &str| path != full && path.starts_with(&full);
        let dirs = entries.iter().filter(|e| e.metadata().is_dir()).map(|e| e.path().trim_start_matches('/'));
        let mut found: Vec<String> =
            dirs.filter(|path| below(path)).filter_map(|path| self.0.key(path)).map(str::to_owned).collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let full = self.0.checked(key)?;
        match self.0.op.delete(&full).await {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            deleted => deleted.map_err(|e| self.0.error(Op::Delete, key, &e)),
        }
    }

    /// Those of this process; of others only where they lie under a name of their own.
    async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        check_prefix(prefix)?;
        let mut found: BTreeMap<String, Unfinished> = BTreeMap::new();
        if self.0.service.way == Way::Renamed {
            for left in self.0.walk(folder_of(prefix), true).await? {
                let (key, id) = (temporary::becomes(&left.key), left.key);
                found.insert(id.clone(), Unfinished { key, begun: left.modified, id });
            }
        }
        for (id, begun) in &*self.0.begun() {
            if begun.upload.strong_count() > 0 {
                let (key, begun) = (begun.key.clone(), begun.at);
                found.insert(id.clone(), Unfinished { key, begun, id: id.clone() });
            }
        }
        Ok(found.into_values().filter(|u| u.key.starts_with(prefix)).collect())
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        let ours = self.0.begun().get(&upload.id).and_then(|begun| begun.upload.upgrade());
        if let Some(ours) = ours {
            return ours.abort().await;
        }
        if self.0.service.way != Way::Renamed {
            return Ok(());
        }
        match self.0.op.delete(&self.0.full(&upload.id)).await {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            deleted => deleted.map_err(|e| self.0.error(Op::Abort, &upload.key, &e)),
        }
    }
}

fn folder_of(prefix: &str) -> &str {
    prefix.rfind('/').map_or("", |end| &prefix[..=end])
}
