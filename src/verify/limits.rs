//! How much a throwaway server may use up: a look at it once a second, and an end when it is too much.

use crate::{
    engine::{Guard, Limits},
    error::{Error, Kind, Result},
    procfs,
    report::format::{bytes, seconds},
    scratch,
};
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};
use tokio_util::task::AbortOnDropHandle;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// An immediate shutdown ends its backends by force after 5 s.
const SHUTDOWN: Duration = Duration::from_secs(6);
/// The longest that a file of anybody's may take.
const USUAL_TIME: Duration = Duration::from_secs(3600);
/// What a file of anybody's must leave free.
const LEFT_FREE: u64 = 1 << 30;

/// How a throwaway server is kept in.
#[derive(Clone, Debug, Default)]
pub struct Guarded {
    /// Start none where this machine has no cage for it.
    pub require_sandbox: bool,
    limits: Limits,
    /// What is restored is not known to be ours.
    foreign: bool,
}

impl Guarded {
    /// For a backup that this program took.
    pub fn of_ours(guard: &Guard) -> Guarded {
        Guarded { require_sandbox: guard.require_sandbox, limits: guard.limits.clone(), foreign: false }
    }

    /// For a file of anybody's: it has limits that nobody has to ask for.
    pub fn of_anybodys(guard: &Guard) -> Guarded {
        Guarded { foreign: true, ..Guarded::of_ours(guard) }
    }
}

/// What holds for one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bounds {
    cpu: Option<Duration>,
    memory: Option<u64>,
    disk: Option<u64>,
    time: Option<Duration>,
}

impl Bounds {
    /// `memory`: this machine's; `free`: on the disk of the server's folder.
    fn of(guarded: &Guarded, memory: Option<u64>, free: u64) -> Bounds {
        let Limits { cpu, memory: ram, disk, time } = &guarded.limits;
        let usual = guarded.foreign;
        // Where there is less than is to be left free, half of it may be used.
        let disk_usual = free.checked_sub(LEFT_FREE).unwrap_or(free / 2).max(free / 2);
        Bounds {
            cpu: cpu.or(None),
            memory: ram.or(memory.filter(|_| usual).map(|m| m / 4 * 3)),
            disk: disk.or(usual.then_some(disk_usual)),
            time: time.or(usual.then_some(USUAL_TIME)),
        }
    }

    /// The first limit that is passed, in words.
    fn passed(&self, used: &Used) -> Option<String> {
        let line = |name: &str, is: String, limit: String| {
            format!("the throwaway server passed its limit of {name} and was ended: {is}, {limit} were allowed")
        };
        let span = |d: Duration| seconds(d.as_secs_f64());
        let over = |name, is: Duration, limit: Option<Duration>| {
            limit.filter(|limit| is > *limit).map(|limit| line(name, span(is), span(limit)))
        };
        let above = |name, is: u64, limit: Option<u64>| {
            limit.filter(|limit| is > *limit).map(|limit| line(name, bytes(is), bytes(limit)))
        };
        over("time", used.time, self.time)
            .or_else(|| above("disk", used.disk, self.disk))
            .or_else(|| above("memory", used.memory, self.memory))
            .or_else(|| over("cpu", used.cpu, self.cpu))
    }
}

/// What a server uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Used {
    cpu: Duration,
    memory: u64,
    disk: u64,
    time: Duration,
}

/// Looks at a server until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    passed: Arc<OnceLock<String>>,
    _task: AbortOnDropHandle<()>,
}

impl Watch {
    /// Begins to look at a server that has limits.
    pub fn begin(guarded: &Guarded, pid: u32, folder: &Path) -> Result<Option<Watch>> {
        let bounds = Bounds::of(guarded, procfs::memory("MemTotal:"), scratch::free_space(folder)?);
        if bounds == Bounds::default() {
            return Ok(None);
        }
        let passed: Arc<OnceLock<String>> = Arc::default();
        let (told, folder) = (passed.clone(), folder.to_owned());
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            loop {
                tokio::time::sleep(EVERY).await;
                let folder: PathBuf = folder.clone();
                let disk_counts = bounds.disk.is_some();
                let looking = tokio::task::spawn_blocking(move || look(pid, disk_counts.then_some(&folder)));
                let Ok(used) = looking.await else { return };
                let used = Used { time: begun.elapsed(), ..used };
                if let Some(line) = bounds.passed(&used) {
                    let _ = told.set(line);
                    return end(pid).await;
                }
            }
        });
        Ok(Some(Watch { passed, _task: AbortOnDropHandle::new(task) }))
    }

    /// The limit that was passed.
    pub fn passed(&self) -> Option<Error> {
        let line = self.passed.get()?;
        Some(
            Error::new(Kind::Proof, line.clone())
                .hint("drill-limits allows more, such as --drill-limits time=2h,memory=8GiB,disk=100GiB, or none"),
        )
    }
}

/// Ends a server and what it has started.
async fn end(pid: u32) {
    procfs::signal(pid, Signal::QUIT);
    tokio::time::sleep(SHUTDOWN).await;
    // Its processes with it: they have no other parent yet by which they are known.
    for process in procfs::tree(pid) {
        procfs::signal(process, Signal::KILL);
    }
}

fn look(pid: u32, folder: Option<&PathBuf>) -> Used {
    let family = procfs::tree(pid);
    let ticks: u64 = family.iter().filter_map(|pid| procfs::stat(*pid)).map(|p| p.ticks).sum();
    let (mut private, mut shared) = (0, 0_u64);
    for pid in &family {
        let of = |name| procfs::status(*pid, name).unwrap_or_default() << 10;
        private += of("RssAnon:");
        // One memory for all of them: as much as the one that has touched most.
        shared = shared.max(of("RssShmem:"));
    }
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Used {
        cpu: Duration::from_millis(ticks * 1000 / per_second),
        memory: private + shared,
        disk: folder.map(|folder| on_disk(folder)).unwrap_or_default(),
        time: Duration::ZERO,
    }
}

/// Bytes that a folder takes on the disk. What goes while it is looked at counts for nothing.
fn on_disk(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => on_disk(&entry.path()),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Limit;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_file_of_anybodys_has_limits_and_a_backup_of_ours_has_those_that_are_asked_for() {
        let guard = Guard::default();
        assert_eq!(Bounds::of(&Guarded::of_ours(&guard), Some(8 * GIB), 10 * GIB), Bounds::default());
        let usual = Bounds { cpu: None, memory: Some(6 * GIB), disk: Some(9 * GIB), time: Some(USUAL_TIME) };
        assert_eq!(Bounds::of(&Guarded::of_anybodys(&guard), Some(8 * GIB), 10 * GIB), usual);
        let limits = Limits { time: Limit::Off, cpu: Limit::At(EVERY), ..Limits::default() };
        let asked = Guard { limits, ..guard };
        let bounds = Bounds::of(&Guarded::of_anybodys(&asked), None, GIB);
        assert_eq!(bounds, Bounds { cpu: Some(EVERY), memory: None, disk: Some(GIB / 2), time: None });
    }

    #[test]
    fn the_limit_that_is_passed_is_named_with_what_was_reached() {
        let bounds = Bounds { cpu: Some(EVERY), memory: Some(GIB), disk: Some(GIB), time: Some(USUAL_TIME) };
        assert_eq!(bounds.passed(&Used::default()), None);
        let told = |used: Used| bounds.passed(&used).expect("is passed");
        let lines = [
            told(Used { cpu: 3 * EVERY, ..Used::default() }),
            told(Used { memory: 2 * GIB, ..Used::default() }),
            told(Used { disk: 3 * GIB, ..Used::default() }),
            told(Used { time: 2 * USUAL_TIME, ..Used::default() }),
        ];
        insta::assert_snapshot!("limits", lines.join("\n"));
    }

    #[test]
    fn a_process_is_seen_with_its_children() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().expect("starts");
        let family = || procfs::tree(child.id());
        let deadline = Instant::now() + Duration::from_secs(10);
        while family().len() < 2 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let seen = family();
        let used = look(child.id(), None);
        for pid in &seen {
            procfs::signal(*pid, Signal::KILL);
        }
        child.wait().expect("ends");
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(used.memory > 0 && used.disk == 0, "{used:?}");
        assert!(look(std::process::id(), None).cpu > Duration::ZERO || cfg!(not(target_os = "linux")));
    }
}
