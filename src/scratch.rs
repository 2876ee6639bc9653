//! Temporary folders that say whose they are, so that the next run can sweep what a killed one left.

use crate::{
    error::{Error, Kind, Result, io},
    procfs,
};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

const PREFIX: &str = "savepoint-";
const OWNER: &str = "owner.json";
/// A file in a direct subfolder of a scratch folder that names a socket folder outside of it (see `verify::cluster`).
pub(crate) const SOCKET_NOTE: &str = "socket-folder";
/// Socket folders outside of a scratch folder have names that begin so.
pub(crate) const SOCKET_PREFIX: &str = "savepoint-socket-";
/// Programs that a run starts with its scratch folder on their command line or as their working folder.
/// initdb starts its servers through a shell, which would outlive it and start the next one.
const PROGRAMS: [&str; 8] = ["postgres", "initdb", "pg_dump", "pg_restore", "pg_dumpall", "psql", "localedef", "sh"];
/// How old a folder must be before it is swept when its owner cannot be looked up (another pid namespace, no lock file).
const UNKNOWN_OWNER_AGE: Duration = Duration::from_secs(24 * 3600);
/// An immediate shutdown ends its backends by force after 5 s.
const SHUTDOWN: Duration = Duration::from_secs(8);

/// Whose a folder is: the content of its lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    pid: u32,
    /// Clock ticks after boot, from `/proc/<pid>/stat`: tells a process from a later one with the same pid.
    start_time: u64,
    boot_id: String,
    pid_namespace: String,
}

impl Owner {
    fn me() -> Result<Owner> {
        let pid = std::process::id();
        let stat = procfs::stat(pid).ok_or_else(|| Error::new(Kind::Io, format!("/proc/{pid}/stat cannot be read")))?;
        Ok(Owner { pid, start_time: stat.start, boot_id: boot_id(), pid_namespace: pid_namespace() })
    }

    /// Whether the process is surely gone; `None`: it cannot be looked up from here.
    fn is_gone(&self) -> Option<bool> {
        if self.boot_id != boot_id() {
            return Some(true);
        }
        if self.pid_namespace != pid_namespace() {
            return None;
        }
        Some(!procfs::stat(self.pid).is_some_and(|p| p.state != 'Z' && p.start == self.start_time))
    }
}

/// A temporary folder `savepoint-<pid>-<random>` with a lock file; removed when dropped. Other users can pass through it (the
/// throwaway server may run under its own uid) but not list it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    removed: bool,
}

impl Scratch {
    /// Makes the folder under `base`, or under the system's temporary folder.
    pub fn create(base: Option<&Path>) -> Result<Scratch> {
        let base = resolve(base)?;
        let random = uuid::Uuid::new_v4().simple().to_string();
        let path = base.join(format!("{PREFIX}{}-{}", std::process::id(), &random[..12]));
        let hint = "--scratch-dir names another folder";
        let failed = |e: Error| e.hint(hint);
        let what = format!("the scratch folder {} cannot be made", path.display());
        fs::DirBuilder::new().mode(0o711).create(&path).map_err(io(&what)).map_err(failed)?;
        let scratch = Scratch { path, removed: false };
        // A strict umask would keep the server's uid out.
        fs::set_permissions(&scratch.path, fs::Permissions::from_mode(0o711)).map_err(io(&what)).map_err(failed)?;
        let owner = serde_json::to_vec(&Owner::me()?).map_err(|e| Error::new(Kind::Io, &what).because(e))?;
        fs::write(scratch.path.join(OWNER), owner).map_err(io(&what)).map_err(failed)?;
        Ok(scratch)
    }

    /// The folder's absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder and everything in it.
    pub fn remove(mut self) -> Result<()> {
        self.removed = true;
        remove_all(&self.path).map_err(io(format!("the scratch folder {} cannot be removed", self.path.display())))
    }

    /// Removes folders that earlier runs of this user left under `base` (or the system's temporary folder), with the processes
    /// that still work in them. Returns one line per folder. Takes up to some seconds when a server has to be stopped.
    pub fn sweep(base: Option<&Path>) -> Vec<String> {
        let Ok(base) = resolve(base) else { return Vec::new() };
        let Ok(folders) = fs::read_dir(&base) else { return Vec::new() };
        let mut swept: Vec<String> = folders
            .flatten()
            .filter(|f| f.file_name().to_string_lossy().starts_with(PREFIX))
            .filter_map(|f| sweep_one(&f.path()))
            .collect();
        swept.sort();
        swept
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.removed {
            // Nothing is left to tell; the next sweep will.
            let _ = remove_all(&self.path);
        }
    }
}

/// Free bytes for this user on the file system that holds `path`.
pub fn free_space(path: &Path) -> Result<u64> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|e| Error::new(Kind::Io, format!("the free space of {} is unknown", path.display())).because(e))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How often, and how long after one another, a folder is tried to be removed that somebody still writes into.
const TRIES: usize = 20;
const AGAIN: Duration = Duration::from_millis(50);

/// Removes a scratch folder, with the programs that still work in it (a killed initdb leaves the server that it bootstraps, which goes on
/// writing). The note of its owner goes last, so that what cannot be removed now is swept later.
fn remove_all(path: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        end_processes(path);
        let emptied = fs::read_dir(path).and_then(|entries| {
            entries.flatten().filter(|e| e.file_name() != OWNER).try_for_each(|e| match e.file_type()?.is_dir() {
                true => fs::remove_dir_all(e.path()),
                false => fs::remove_file(e.path()),
            })
        });
        match emptied {
            Ok(()) => return fs::remove_dir_all(path),
            Err(e) if tries == TRIES => return Err(e),
            // Who still writes there may be no program of PostgreSQL's, such as what initdb was started by.
            Err(_) => {
                tries += 1;
                std::thread::sleep(AGAIN);
            }
        }
    }
}

fn resolve(base: Option<&Path>) -> Result<PathBuf> {
    let base = base.map_or_else(std::env::temp_dir, Path::to_path_buf);
    // Absolute and without links: sweeping looks for this path on command lines.
    base.canonicalize()
        .map_err(io(format!("the folder {}", base.display())))
        .map_err(|e| e.hint("--scratch-dir names another folder"))
}

fn sweep_one(path: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(path).ok()?;
    // Another user's folder is none of our business, and a link may point anywhere.
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let name = path.file_name()?.to_string_lossy().into_owned();
    if name.starts_with(SOCKET_PREFIX) {
        // Goes with the scratch folder that names it.
        return None;
    }
    let owner = fs::read(path.join(OWNER)).ok().and_then(|o| serde_json::from_slice::<Owner>(&o).ok());
    let gone = match owner.as_ref().and_then(Owner::is_gone) {
        Some(gone) => gone,
        None => SystemTime::now().duration_since(meta.modified().ok()?).is_ok_and(|age| age > UNKNOWN_OWNER_AGE),
    };
    if !gone {
        return None;
    }
    let ended = end_processes(path);
    for note in fs::read_dir(path).ok()?.flatten().map(|d| d.path().join(SOCKET_NOTE)) {
        remove_socket_folder(&note);
    }
    let whose = owner.map_or("an unknown process".to_owned(), |o| format!("process {}", o.pid));
    let line = format!("{}: left by {whose}, which is gone", path.display());
    let processes = if ended == 0 { String::new() } else { format!("; processes ended: {ended}") };
    Some(match remove_all(path) {
        Ok(()) => format!("removed {line}{processes}"),
        Err(e) => format!("cannot remove {line}: {e}{processes}"),
    })
}

/// Removes the socket folder that a note names, if it is one of ours.
fn remove_socket_folder(note: &Path) {
    let Ok(named) = fs::read_to_string(note) else { return };
    let folder = Path::new(named.trim_end());
    let ours = folder.file_name().is_some_and(|n| n.to_string_lossy().starts_with(SOCKET_PREFIX));
    if ours && fs::symlink_metadata(folder).is_ok_and(|m| m.is_dir()) {
        let _ = fs::remove_dir_all(folder);
    }
}

/// Ends the PostgreSQL programs that work in `folder`; returns how many there were.
fn end_processes(folder: &Path) -> usize {
    let found = processes_in(folder);
    // An immediate shutdown lets the server end its backends and give back its shared memory.
    for (pid, program) in &found {
        procfs::signal(*pid, if program == "postgres" { Signal::QUIT } else { Signal::KILL });
    }
    let deadline = Instant::now() + SHUTDOWN;
    loop {
        let left = processes_in(folder);
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            left.iter().for_each(|(pid, _)| procfs::signal(*pid, Signal::KILL));
            std::thread::sleep(Duration::from_millis(100));
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    found.len()
}

/// PostgreSQL programs with `folder` on their command line or as working folder. Backends overwrite their command line, but
/// work in the data folder.
fn processes_in(folder: &Path) -> Vec<(u32, String)> {
    let path = folder.as_os_str().as_bytes();
    procfs::pids()
        .filter_map(|pid| {
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let program = fs::read_to_string(proc.join("comm")).ok()?.trim_end().to_owned();
            let line = fs::read(proc.join("cmdline")).ok()?;
            let works_there = || fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
            let ours = PROGRAMS.contains(&program.as_str())
                && procfs::stat(pid).is_some_and(|p| p.state != 'Z')
                && (line.windows(path.len()).any(|w| w == path) || works_there());
            ours.then_some((pid, program))
        })
        .collect()
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim_end().to_owned()
}

fn pid_namespace() -> String {
    fs::read_link("/proc/self/ns/pid").map(|l| l.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_owner(base: &Path, change: impl FnOnce(&mut Owner)) -> PathBuf {
        let scratch = Scratch::create(Some(base)).unwrap();
        let mut owner = Owner::me().unwrap();
        change(&mut owner);
        fs::write(scratch.path.join(OWNER), serde_json::to_vec(&owner).unwrap()).unwrap();
        let path = scratch.path.clone();
        std::mem::forget(scratch);
        path
    }

    #[test]
    fn a_folder_is_removed_by_remove_and_by_drop() {
        let base = tempfile::tempdir().unwrap();
        let one = Scratch::create(Some(base.path())).unwrap();
        fs::create_dir_all(one.path().join("a/b")).unwrap();
        assert_eq!(one.path().metadata().unwrap().mode() & 0o777, 0o711);
        one.remove().unwrap();
        drop(Scratch::create(Some(base.path())).unwrap());
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
        let missing = Scratch::create(Some(&base.path().join("no"))).unwrap_err();
        assert!(missing.hint_text().unwrap().contains("--scratch-dir"));
    }

    #[test]
    fn only_folders_whose_owner_is_gone_are_swept() {
        let base = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = with_owner(base.path(), |o| o.pid = child.id());
        let reused = with_owner(base.path(), |o| o.start_time += 1);
        let rebooted = with_owner(base.path(), |o| o.boot_id = "another".into());
        let elsewhere = with_owner(base.path(), |o| o.pid_namespace = "pid:[1]".into());
        let mine = with_owner(base.path(), |_| ());
        let unowned = base.path().join("savepoint-1-unowned");
        fs::create_dir(&unowned).unwrap();
        let foreign = base.path().join("other");
        fs::create_dir(&foreign).unwrap();
        let lines = Scratch::sweep(Some(base.path()));
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|l| l.starts_with("removed ") && l.ends_with("which is gone")), "{lines:?}");
        assert!([dead, reused, rebooted].iter().all(|p| !p.exists()));
        assert!([&elsewhere, &mine, &unowned, &foreign].iter().all(|p| p.exists()));
        // After a day nobody can still be at work there.
        for old in [&elsewhere, &unowned] {
            let time = SystemTime::now() - Duration::from_secs(25 * 3600);
            fs::File::open(old).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(Scratch::sweep(Some(base.path())).len(), 2);
        assert!(mine.exists() && foreign.exists());
    }

    #[test]
    fn free_space_is_known() {
        assert!(free_space(Path::new("/")).unwrap() > 0);
        assert!(free_space(Path::new("/no/such/folder")).is_err());
    }
}
