//! Files and folders that outlive a power cut: written beside their place, flushed, renamed, and given to whom the folder belongs.

use crate::{
    error::{Error, Kind, Result},
    store::ObjectInfo,
};
use rustix::{
    fs::{Gid, Mode, OFlags, Uid},
    process::geteuid,
};
use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tempfile::NamedTempFile;
use time::OffsetDateTime;

const PARTIAL: &str = ".partial-";

/// Flushes a folder once for all files that got their names in it meanwhile.
#[derive(Debug, Default)]
pub(super) struct Flush {
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
pub(super) type Flushes = Arc<Mutex<HashMap<PathBuf, Arc<Flush>>>>;

/// Whom we, as root, give what we make; `None`: it stays ours.
pub(super) type Owner = Option<(Uid, Gid)>;

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::new(Kind::Store, "file access was cut off").because(e))?
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An I/O failure with the cure, where there is one.
pub(super) fn failed(what: String, e: io::Error) -> Error {
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

pub(super) fn is_partial(name: &str) -> bool {
    name.starts_with('.') && name.contains(PARTIAL)
}

/// The key that an unfinished file is to have; any other key stays as it is.
pub(super) fn becomes(key: &str) -> String {
    let (folder, name) = key.rsplit_once('/').map_or(("", key), |(folder, name)| (folder, name));
    match name.strip_prefix('.').and_then(|n| n.rsplit_once(PARTIAL)) {
        Some((name, _)) if folder.is_empty() => name.to_owned(),
        Some((name, _)) => format!("{folder}/{name}"),
        None => key.to_owned(),
    }
}

/// True when a path leads to nothing: also where a file stands in place of one of its folders.
pub(super) fn is_absent(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// The owner of a folder, or of the nearest one above it that exists, when we are root and it is not. A container action runs as root
/// in the runner's workspace, and the job's next step, which does not, is to read the backup.
pub(super) fn owner_around(root: &Path) -> Owner {
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
pub(super) fn create_folders(folder: &Path, owner: Owner) -> io::Result<()> {
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
pub(super) fn new_partial(root: &Path, path: &Path, owner: Owner) -> io::Result<NamedTempFile> {
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
pub(super) fn publish(temp: NamedTempFile, path: &Path, replace: bool, flushes: &Flushes) -> Result<()> {
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
pub(super) fn remove(root: &Path, path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if !is_absent(&e) => Err(failed(format!("cannot delete {}", path.display()), e)),
        _ => {
            remove_empty_parents(root, path);
            Ok(())
        }
    }
}

/// Removes the folders above a removed file that are empty now, up to the root. A folder that cannot be removed stays.
pub(super) fn remove_empty_parents(root: &Path, path: &Path) {
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
pub(super) fn walk(root: &Path, folder: &str, prefix: &str, partial: bool, found: &mut Vec<ObjectInfo>) -> Result<()> {
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
    use std::os::unix::fs::FileExt;

    #[test]
    fn a_full_disk_is_named() {
        // Linux answers each write to /dev/full as a full disk does.
        let e = File::options().write(true).open("/dev/full").and_then(|f| f.write_all_at(b"x", 0)).unwrap_err();
        let e = failed("cannot write /backups/a".into(), e);
        assert_eq!(e.kind(), Kind::Store);
        assert!(e.one_line().starts_with("cannot write /backups/a: No space left"), "{e}");
        assert!(e.hint_text().is_some_and(|h| h.contains("free some space")), "{e:?}");
    }

    #[test]
    fn partial_files_are_known_by_their_name() {
        assert!(is_partial(".1.dat.gz.partial-x7Gh2k"));
        assert!(!is_partial(".hidden") && !is_partial("a.partial-x"));
    }
}
