//! What the kernel says of processes and of memory (proc(5)); nothing where there is no such file system.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{collections::HashMap, fs};

/// A process.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// `Z`: it has ended, and nobody has waited for it yet.
    pub state: char,
    /// The process that started it, or took it over.
    pub parent: u32,
    /// Clock ticks on the processors, with those of its children that have ended.
    pub ticks: u64,
    /// Clock ticks after boot: tells it from a later one with the same id.
    pub start: u64,
}

/// The ids of all processes.
pub fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok())
}

/// Of one process.
pub fn stat(pid: u32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, field 2, stands in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: u32::try_from(number(4)?).ok()?,
        ticks: [14, 15, 16, 17].into_iter().filter_map(number).sum(),
        start: number(22)?,
    })
}

/// A number of its status, such as that of `PPid:`; those of memory are in kB there.
pub fn status(pid: u32, name: &str) -> Option<u64> {
    number(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, name)
}

fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?.trim();
    rest.strip_suffix(" kB").unwrap_or(rest).parse().ok()
}

/// A process and all that come from it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in pids().filter_map(|pid| Some((pid, stat(pid)?))) {
        children.entry(stat.parent).or_default().push(pid);
    }
    let (mut found, mut at) = (vec![root], 0);
    while let Some(parent) = found.get(at) {
        found.extend(children.remove(parent).into_iter().flatten());
        at += 1;
    }
    found
}

/// Sends a signal. The process may have ended on its own.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// The group of a process that leads one, killed when this is dropped.
pub struct Group(Option<Pid>);

impl Group {
    /// That of a child; `None`: it has ended.
    pub fn of(leader: Option<u32>) -> Self {
        Group(leader.and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    /// Sends all of it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, signal);
        }
    }

    /// It has ended by itself: nobody is to be killed.
    pub fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Bytes of the machine's memory: a field of `/proc/meminfo`, such as `MemTotal:`, or less within a container's limit.
pub fn memory(field: &str) -> Option<u64> {
    let bytes = number(&fs::read_to_string("/proc/meminfo").ok()?, field)? << 10;
    Some(within_limits(bytes))
}

/// Bytes, or less within a container's limit of memory.
pub fn within_limits(bytes: u64) -> u64 {
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    limits.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).fold(bytes, u64::min)
}
