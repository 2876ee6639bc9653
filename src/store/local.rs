//! The local folder backend: a key is a path below the root.
//!
//! Whatever is being written lies in `.<name>.partial-<random>` beside its final place, is flushed to disk, and then renamed:
//! a crash leaves a partial file, which no listing shows, but never half an object.

use super::{ObjectInfo, Parts, Reader, Store, Unfinished, Upload, check_key, check_prefix, check_range, too_short};
use crate::error::{Error, Kind, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use rustix::{
    fs::{Gid, Mode, OFlags, Uid},
    process::geteuid,
};
use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    ops::Range,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const PARTIAL: &str = ".partial-";

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

/// Flushes a folder once for all files that got their names in it meanwhile.
#[derive(Debug, Default)]
struct Flush {
    renamed: AtomicU64,
    /// How many of them are flushed.
    flushed: Mutex<u64>,
}

impl Flush {
    /// Returns when the names of all files renamed before this call are on disk.
    fn flush(&self, folder: &Path) -> io::Result<()> {
        let mine = self.renamed.fetch_add(1, Ordering::AcqRel) + 1;
        let mut flushed = lock(&self.flushed);
        if *flushed < mine {
            let all = self.renamed.load(Ordering::Acquire);
            File::open(folder)?.sync_all()?;
            *flushed = all;
        }
        Ok(())
    }
}

/// By folder.
type Flushes = Arc<Mutex<HashMap<PathBuf, Arc<Flush>>>>;

/// Folders that [`LocalStore::open`] made, the innermost first. A run that stored nothing leaves none of them behind.
#[derive(Debug)]
struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        // Only empty folders can be removed so.
        let _ = self.0.iter().try_for_each(fs::remove_dir);
    }
}

/// Whom we, as root, give what we make; `None`: it stays ours.
type Owner = Option<(Uid, Gid)>;

impl LocalStore {
    /// Opens a folder, and creates it (for its owner alone) when it is missing.
    pub async fn open(root: &Path) -> Result<Self> {
        let root = root.to_path_buf();
        blocking(move || {
            let root = std::path::absolute(&root).map_err(|e| failed(format!("cannot open {}", root.display()), e))?;
            let owner = owner_around(&root);
            let missing = root.ancestors().take_while(|f| !f.exists()).map(Path::to_path_buf).collect();
            let made = Arc::new(Made(missing));
            create_folders(&root, owner)
                .map_err(|e| failed(format!("cannot create the folder {}", root.display()), e))?;
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

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(Kind::Store, "file access was cut off").because(e))?
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An I/O failure with the cure, where there is one.
fn failed(what: String, e: io::Error) -> Error {
    let kind = e.kind();
    let error = match kind {
        ErrorKind::NotFound => Error::new(Kind::NotFound, what),
        ErrorKind::AlreadyExists => Error::new(Kind::Exists, what),
        _ => Error::new(Kind::Store, what),
    };
    let error = match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            error.hint("the disk is full: free some space, or name a larger disk by --destination")
        }
        ErrorKind::PermissionDenied => error
            .hint("give the user that runs savepoint the right to read and write there, or name another --destination"),
        ErrorKind::NotADirectory => error.hint("a part of the path is a file: name another --destination"),
        ErrorKind::ReadOnlyFilesystem => error.hint("the disk is mounted read-only: name another --destination"),
        _ => error,
    };
    error.because(e)
}

fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.contains(PARTIAL)
}

/// The key that an unfinished file is to have; any other key stays as it is.
fn becomes(key: &str) -> String {
    let (folder, name) = key.rsplit_once('/').map_or(("", key), |(folder, name)| (folder, name));
    match name.strip_prefix('.').and_then(|n| n.rsplit_once(PARTIAL)) {
        Some((name, _)) if folder.is_empty() => name.to_owned(),
        Some((name, _)) => format!("{folder}/{name}"),
        None => key.to_owned(),
    }
}

/// True when a path leads to nothing: also where a file stands in place of one of its folders.
fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The owner of a folder, or of the nearest one above it that exists, when we are root and it is not. A container action runs as root
/// in the runner's workspace, and the job's next step, which does not, is to read the backup.
fn owner_around(root: &Path) -> Owner {
    let meta = root.ancestors().find_map(|folder| fs::metadata(folder).ok())?;
    (geteuid().is_root() && meta.uid() != 0).then(|| (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid())))
}

/// Gives a new file or folder to its owner. A file system without owners, or a container that does not know this one, refuses: the
/// backup is none the worse for it.
fn give(made: impl AsFd, owner: Owner) {
    if let Some((uid, gid)) = owner {
        let _ = rustix::fs::fchown(made, Some(uid), Some(gid));
    }
}

/// Creates a folder with its parents, so that it outlives a power cut.
fn create_folders(folder: &Path, owner: Owner) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let missing: Vec<_> = folder.ancestors().take_while(|f| !f.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for made in &missing {
        // Another user's folder may have become a link meanwhile.
        give(rustix::fs::open(*made, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?, owner);
    }
    for parent in missing.iter().filter_map(|f| f.parent()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// A new file (mode 0600) beside the place that it will be renamed to.
fn new_partial(root: &Path, path: &Path, owner: Owner) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(root);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!(".{name}{PARTIAL}");
    let mut tries = 0;
    loop {
        let made = create_folders(folder, owner)
            .and_then(|()| tempfile::Builder::new().prefix(&prefix).suffix("").tempfile_in(folder));
        match made {
            // A delete beside us may just have removed the folder because it was empty.
            Err(e) if e.kind() == ErrorKind::NotFound && tries < 5 => tries += 1,
            made => {
                return made.inspect(|file| give(file.as_file(), owner));
            }
        }
    }
}

/// Flushes a finished file and gives it its name.
fn publish(temp: NamedTempFile, path: &Path, replace: bool, flushes: &Flushes) -> Result<()> {
    let cannot = |e| failed(format!("cannot write {}", path.display()), e);
    temp.as_file().sync_all().map_err(cannot)?;
    let renamed = if replace { temp.persist(path) } else { temp.persist_noclobber(path) };
    renamed.map_err(|e| match e.error.kind() {
        ErrorKind::AlreadyExists => Error::new(Kind::Exists, format!("{} exists already", path.display())),
        _ => cannot(e.error),
    })?;
    let folder = path.parent().unwrap_or(path);
    let flush = lock(flushes).entry(folder.to_path_buf()).or_default().clone();
    flush.flush(folder).map_err(cannot)
}

/// Removes a file, which need not be there, and the folders above it that are empty then.
fn remove(root: &Path, path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if !is_absent(&e) => Err(failed(format!("cannot delete {}", path.display()), e)),
        _ => {
            remove_empty_parents(root, path);
            Ok(())
        }
    }
}

/// Removes the folders above a removed file that are empty now, up to the root. A folder that cannot be removed stays.
fn remove_empty_parents(root: &Path, path: &Path) {
    for folder in path.ancestors().skip(1).take_while(|f| *f != root && f.starts_with(root)) {
        // A file in place of the folder, or a folder that was not there, is no reason to stop either.
        match fs::remove_dir(folder) {
            Err(e) if !is_absent(&e) => break,
            _ => {}
        }
    }
}

/// Collects the files below `folder` (relative to the root, empty for the root itself) whose key begins with `prefix`: the finished
/// ones, or the unfinished ones, whose key is that of the file they would become.
fn walk(root: &Path, folder: &str, prefix: &str, partial: bool, found: &mut Vec<ObjectInfo>) -> Result<()> {
    let path = root.join(folder);
    let cannot = |e| failed(format!("cannot list {}", path.display()), e);
    let entries = match fs::read_dir(&path) {
        // Never there, or deleted meanwhile.
        Err(e) if is_absent(&e) => return Ok(()),
        entries => entries.map_err(cannot)?,
    };
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let name = entry.file_name();
        // What is not UTF-8 was not written by us.
        let Some(name) = name.to_str() else { continue };
        let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let meta = match entry.metadata() {
            Err(e) if is_absent(&e) => continue,
            meta => meta.map_err(cannot)?,
        };
        if meta.is_dir() && (key.starts_with(prefix) || prefix.starts_with(&format!("{key}/"))) {
            walk(root, &key, prefix, partial, found)?;
        } else if meta.is_file() && is_partial(name) == partial && becomes(&key).starts_with(prefix) {
            let modified = OffsetDateTime::from(meta.modified().map_err(cannot)?);
            found.push(ObjectInfo { key, size: meta.len(), modified });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named() {
        // Linux answers each write to /dev/full as a full disk does.
        let e = File::options().write(true).open("/dev/full").and_then(|f| f.write_all_at(b"x", 0)).unwrap_err();
        let e = failed("cannot write /backups/a".into(), e);
        assert_eq!(e.kind(), Kind::Store);
        assert!(e.one_line().starts_with("cannot write /backups/a: No space left"), "{e}");
        assert!(e.hint_text().is_some_and(|h| h.contains("free some space")), "{e:?}");
    }

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

    #[test]
    fn partial_files_are_known_by_their_name() {
        assert!(is_partial(".1.dat.gz.partial-x7Gh2k"));
        assert!(!is_partial(".hidden") && !is_partial("a.partial-x"));
    }
}
