//! What a backup, a proof or a restore works with on this machine.

use crate::clock::STALL;
use std::{path::PathBuf, time::Duration};

/// What the work is done with.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Connections, at least 1.
    pub jobs: usize,
    /// Folders in which PostgreSQL's programs are looked up, in this order.
    pub pg_bin_dirs: Vec<PathBuf>,
    /// Where temporary files and the throwaway server lie; default: the system's temporary folder.
    pub scratch_dir: Option<PathBuf>,
    /// How long the throwaway server may be silent where it owes an answer.
    pub stall: Duration,
}

impl Default for Engine {
    /// Four connections, and the programs that Debian's packages install; nothing of it comes from the environment.
    fn default() -> Self {
        Engine { jobs: 4, pg_bin_dirs: pg_bin_dirs(std::iter::empty(), None), scratch_dir: None, stall: STALL }
    }
}

/// How the built-in throwaway server is kept in while it runs what a dump says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Run none where this machine has no cage for it.
    pub require_sandbox: bool,
    /// How much it may use up.
    pub limits: Limits,
}

/// How much a throwaway server may use up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Time on the processors, of all its processes.
    pub cpu: Limit<Duration>,
    /// Bytes of memory.
    pub memory: Limit<u64>,
    /// Bytes in its folder.
    pub disk: Limit<u64>,
    /// Time from its start.
    pub time: Limit<Duration>,
}

/// One limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit<T> {
    /// None for a backup of ours, the usual one for a file of anybody's.
    #[default]
    Usual,
    /// None.
    Off,
    /// This one.
    At(T),
}

impl<T: Copy> Limit<T> {
    /// What holds where `usual` is the usual one.
    pub fn or(&self, usual: Option<T>) -> Option<T> {
        match self {
            Limit::Usual => usual,
            Limit::Off => None,
            Limit::At(limit) => Some(*limit),
        }
    }
}

/// As named, then `PATH`, then Debian's `/usr/lib/postgresql/<major>/bin` in order of the major.
pub(crate) fn pg_bin_dirs(named: impl Iterator<Item = PathBuf>, path: Option<String>) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = named.collect();
    dirs.extend(std::env::split_paths(&path.unwrap_or_default()).filter(|dir| dir.is_absolute()));
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    installed.sort();
    dirs.extend(installed.into_iter().map(|(_, dir)| dir));
    dirs
}
