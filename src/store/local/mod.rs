//! The local folder backend: a key is a path below the root.
//!
//! Whatever is being written lies in `.<name>.partial-<random>` beside its final place, is flushed to disk, and then renamed:
//! a crash leaves a partial file, which no listing shows, but never half an object.

mod files;

use super::{
    ObjectInfo, Reader, Store, Unfinished, Upload,
    key::{check_key, check_prefix, check_range, too_short},
    parts::Parts,
    place::{Backend, Destination, Given, Place},
};
use crate::{
    error::{Error, Kind, Result},
    scratch::free_space,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use files::{
    Flushes, Owner, becomes, blocking, create_folders, failed, is_absent, is_partial, lock, new_partial, owner_around,
    publish, remove, remove_empty_parents, walk,
};
use futures_util::stream;
use std::{
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// As the list of backends names it.
pub(super) const BACKEND: Backend = Backend {
    noun: "a folder",
    takes: |address| {
        let path = || address == "." || ["/", "./", "../"].iter().any(|start| address.starts_with(start));
        address.starts_with(FILE_URL) || (!address.contains("://") && path())
    },
    options: &[],
    check: |given| Ok(Destination::folder(folder(given)?)),
};

const FILE_URL: &str = "file://";

/// The folder that an address names: `/path`, `./path`, or `file:///path`.
fn folder(given: &Given<'_>) -> Result<PathBuf> {
    let bad = |what: &str, cure: &str| given.refuse(what).hint(cure);
    let Some(rest) = given.address.strip_prefix(FILE_URL) else { return Ok(given.below_base(given.address)) };
    let decoded = percent_encoding::percent_decode_str(rest.strip_prefix("localhost").unwrap_or(rest))
        .decode_utf8()
        .map_err(|_| bad("the file URL is no valid UTF-8", "give the folder's path itself"))?;
    if !decoded.starts_with('/') {
        return Err(bad("a file URL names an absolute path", "write file:///path, with three slashes"));
    }
    Ok(given.below_base(&decoded))
}

impl Destination {
    /// A local folder, which need not be there yet.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Destination::of(Folder(path.into()))
    }
}

#[derive(Debug)]
struct Folder(PathBuf);

#[async_trait]
impl Place for Folder {
    fn label(&self) -> String {
        self.0.display().to_string()
    }

    fn there(&self) -> Result<()> {
        if self.0.exists() {
            return Ok(());
        }
        Err(Error::new(Kind::NotFound, format!("the folder {} does not exist", self.0.display()))
            .hint("name the folder or bucket that backups were stored in by --destination"))
    }

    fn free_space(&self) -> Result<Option<u64>> {
        free_space(&self.0).map(Some)
    }

    async fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(LocalStore::open(&self.0).await?))
    }
}

/// Bytes per read.
const READ_SIZE: usize = 256 * 1024;

/// Backups in a local folder.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: PathBuf,
    owner: Owner,
    flushes: Flushes,
    /// Nothing reads it: it cleans up when the last copy of this store goes.
    _made: Arc<Made>,
}

/// Folders that [`LocalStore::open`] made, the innermost first. A run that stored nothing leaves none of them behind.
#[derive(Debug)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        // Only empty folders can be removed so.
        let _ = self.0.iter().try_for_each(fs::remove_dir);
    }
}

impl LocalStore {
    /// Opens a folder, and creates it (for its owner alone) when it is missing.
    pub async fn open(root: &Path) -> Result<Self> {
        let root = root.to_path_buf();
        blocking(move || {
            let root = std::path::absolute(&root).map_err(|e| failed(format!("cannot open {}", root.display()), e))?;
            let owner = owner_around(&root);
            let missing = root.ancestors().take_while(|f| !f.exists()).map(Path::to_path_buf).collect();
            let made = Arc::new(Made(missing));
            create_folders(&root, owner).map_err(|e| match root.exists() && !root.is_dir() {
                true => failed(format!("{} is no folder", root.display()), e),
                false => failed(format!("cannot create the folder {}", root.display()), e),
            })?;
            Ok(Self { root, owner, flushes: Flushes::default(), _made: made })
        })
        .await
    }

    fn path(&self, key: &str) -> Result<PathBuf> {
        check_key(key)?;
        if key.rsplit('/').next().is_some_and(is_partial) {
            return Err(Error::new(Kind::Store, format!("object key {key:?} looks like an unfinished write")));
        }
        Ok(self.root.join(key))
    }

    async fn write(&self, key: &str, body: Bytes, replace: bool) -> Result<()> {
        let (path, root, owner, flushes) = (self.path(key)?, self.root.clone(), self.owner, self.flushes.clone());
        blocking(move || {
            let cannot = |e| failed(format!("cannot write {}", path.display()), e);
            let temp = new_partial(&root, &path, owner).map_err(cannot)?;
            temp.as_file().write_all_at(&body, 0).map_err(cannot)?;
            publish(temp, &path, replace, &flushes)
        })
        .await
    }
}

#[async_trait]
impl Store for LocalStore {
    fn uri(&self, key: &str) -> String {
        self.root.join(key).display().to_string()
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        self.write(key, body, true).await
    }

    async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        self.write(key, body, false).await
    }

    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>> {
        let (path, root, owner, flushes) = (self.path(key)?, self.root.clone(), self.owner, self.flushes.clone());
        blocking(move || {
            let cannot = |e| failed(format!("cannot write {}", path.display()), e);
            let temp = new_partial(&root, &path, owner).map_err(cannot)?;
            let file = Arc::new(temp.as_file().try_clone().map_err(cannot)?);
            let parts = Mutex::new(Parts::new());
            Ok(Arc::new(LocalUpload { root, path, file, flushes, temp: Mutex::new(Some(temp)), parts })
                as Arc<dyn Upload>)
        })
        .await
    }

    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader> {
        let path = self.path(key)?;
        let name = path.display().to_string();
        let cannot = |e| failed(format!("cannot read {name}"), e);
        let mut file = tokio::fs::File::open(&path).await.map_err(cannot)?;
        let meta = file.metadata().await.map_err(cannot)?;
        if !meta.is_file() {
            return Err(Error::new(Kind::NotFound, format!("{name} is not a file")));
        }
        let size = meta.len();
        let range = range.unwrap_or(0..size);
        check_range(&name, &range)?;
        if range.end > size {
            return Err(too_short(&name, Some(size), &range));
        }
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(cannot)?;
        let stream = stream::try_unfold((file, range.end - range.start), move |(mut file, left)| {
            let (name, range) = (name.clone(), range.clone());
            async move {
                if left == 0 {
                    return Ok(None);
                }
                let mut chunk = BytesMut::with_capacity(READ_SIZE.min(usize::try_from(left).unwrap_or(READ_SIZE)));
                let read = (&mut file).take(left).read_buf(&mut chunk).await;
                match read.map_err(|e| failed(format!("cannot read {name}"), e))? {
                    // The file was cut while it was being read.
                    0 => Err(too_short(&name, None, &range)),
                    n => Ok(Some((chunk.freeze(), (file, left - n as u64)))),
                }
            }
        });
        Ok(Reader { size, stream: Box::pin(stream) })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        check_prefix(prefix)?;
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || {
            // A root that is gone (an unmounted disk) must not look like a place without backups.
            fs::metadata(&root).map_err(|e| failed(format!("cannot list {}", root.display()), e))?;
            let mut found = Vec::new();
            let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            walk(&root, folder, &prefix, false, &mut found)?;
            found.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(found)
        })
        .await
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        check_prefix(folder)?;
        let (root, folder) = (self.root.clone(), folder.to_owned());
        blocking(move || {
            fs::metadata(&root).map_err(|e| failed(format!("cannot list {}", root.display()), e))?;
            let path = root.join(&folder);
            let cannot = |e| failed(format!("cannot list {}", path.display()), e);
            let entries = match fs::read_dir(&path) {
                Err(e) if is_absent(&e) => return Ok(Vec::new()),
                entries => entries.map_err(cannot)?,
            };
            let mut found = Vec::new();
            for entry in entries {
                let entry = entry.map_err(cannot)?;
                if entry.file_type().is_ok_and(|t| t.is_dir())
                    && let Some(name) = entry.file_name().to_str()
                {
                    found.push(format!("{folder}{name}/"));
                }
            }
            found.sort_unstable();
            Ok(found)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let (path, root) = (self.path(key)?, self.root.clone());
        blocking(move || remove(&root, &path)).await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        check_prefix(prefix)?;
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        blocking(move || {
            let mut found = Vec::new();
            walk(&root, prefix.rsplit_once('/').map_or("", |(folder, _)| folder), &prefix, true, &mut found)?;
            Ok(found.into_iter().map(|f| Unfinished { key: becomes(&f.key), begun: f.modified, id: f.key }).collect())
        })
        .await
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        let (path, root) = (self.root.join(&upload.id), self.root.clone());
        blocking(move || remove(&root, &path)).await
    }
}

/// A file in the making. It is removed when it is dropped unfinished.
#[derive(Debug)]
struct LocalUpload {
    root: PathBuf,
    path: PathBuf,
    file: Arc<File>,
    flushes: Flushes,
    temp: Mutex<Option<NamedTempFile>>,
    parts: Mutex<Parts<()>>,
}

#[async_trait]
impl Upload for LocalUpload {
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()> {
        let name = self.path.display().to_string();
        Parts::<()>::check_number(&name, number)?;
        if lock(&self.temp).is_none() {
            return Err(Error::new(Kind::Store, format!("cannot write part {number} of {name}: the upload has ended")));
        }
        let (file, len) = (self.file.clone(), body.len() as u64);
        blocking(move || file.write_all_at(&body, offset).map_err(|e| failed(format!("cannot write {name}"), e)))
            .await?;
        lock(&self.parts).0.insert(number, (offset, len, ()));
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let name = self.path.display().to_string();
        let total = lock(&self.parts).total(&name)?;
        let Some(temp) = lock(&self.temp).take() else {
            return Err(Error::new(Kind::Store, format!("cannot complete {name}: the upload has ended")));
        };
        let (path, flushes) = (self.path.clone(), self.flushes.clone());
        blocking(move || {
            // A part that was sent twice may have been longer the first time.
            temp.as_file().set_len(total).map_err(|e| failed(format!("cannot write {name}"), e))?;
            publish(temp, &path, true, &flushes)
        })
        .await
    }

    async fn abort(&self) -> Result<()> {
        let Some(temp) = lock(&self.temp).take() else { return Ok(()) };
        let (root, path) = (self.root.clone(), self.path.clone());
        blocking(move || {
            match temp.close() {
                Err(e) if !is_absent(&e) => {
                    return Err(failed(format!("cannot remove the unfinished {}", path.display()), e));
                }
                _ => remove_empty_parents(&root, &path),
            }
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::geteuid;
    use std::os::unix::fs::MetadataExt;

    #[tokio::test]
    async fn a_folder_that_was_made_for_nothing_goes_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("a/b");
        let store = LocalStore::open(&root).await.expect("opens");
        store.put("c/one", Bytes::from_static(b"1")).await.expect("stores");
        drop(store.clone());
        store.delete("c/one").await.expect("deletes");
        assert!(root.is_dir());
        drop(store);
        assert!(!dir.path().join("a").exists() && dir.path().exists());

        let store = LocalStore::open(&root).await.expect("opens");
        store.put("c/one", Bytes::from_static(b"1")).await.expect("stores");
        drop(store);
        assert!(root.join("c/one").exists());
        // What was there before stays, empty or not.
        let kept = dir.path().join("kept");
        fs::create_dir(&kept).expect("makes");
        drop(LocalStore::open(&kept).await.expect("opens"));
        assert!(kept.exists());
    }

    #[tokio::test]
    async fn what_root_makes_belongs_to_the_owner_of_the_folder_around_it() {
        if !geteuid().is_root() {
            // Nobody else can give files away.
            return;
        }
        let dir = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::chown(dir.path(), Some(1234), Some(1235)).expect("is root");
        let store = LocalStore::open(&dir.path().join("a/b")).await.expect("opens");
        store.put("c/d/one", Bytes::from_static(b"1")).await.expect("stores");
        let upload = store.create_upload("c/d/two").await.expect("begins");
        upload.put_part(1, 0, Bytes::from_static(b"2")).await.expect("writes");
        upload.complete().await.expect("completes");
        for made in ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/one", "a/b/c/d/two"] {
            let meta = fs::metadata(dir.path().join(made)).expect(made);
            assert_eq!((meta.uid(), meta.gid()), (1234, 1235), "{made}");
        }
    }
}
