//! One run of a competitor, and what it cost: all from `/proc`, so that programs of any origin are measured alike.

use crate::support::Result;
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// No competitor gets longer.
pub const LIMIT: Duration = Duration::from_secs(15 * 60);
/// Time between two looks at the tree of processes.
const EVERY: Duration = Duration::from_millis(20);
/// Ticks per second of the CPU times in `/proc` (USER_HZ, the same on every Linux that the test stack runs on).
const TICKS: f64 = 100.0;

/// A command to measure. Its environment holds nothing but `env`.
#[derive(Clone, Debug)]
pub struct Job {
    /// Program and arguments.
    pub line: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
}

/// Servers whose CPU time is read before and after.
#[derive(Clone, Copy, Debug, Default)]
pub struct Servers {
    /// PostgreSQL's main process.
    pub postgres: u32,
    /// The S3 server.
    pub s3: u32,
}

/// What a run cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Run {
    /// Seconds from start to end.
    pub wall: f64,
    /// CPU seconds of the first process (savepoint itself; of a shell's pipeline next to nothing).
    pub own_cpu: f64,
    /// CPU seconds of all processes that it started: programs of a pipeline, or savepoint's tools and throwaway server.
    pub children_cpu: f64,
    /// CPU seconds of the database server, backends included.
    pub server_cpu: f64,
    /// CPU seconds of the S3 server, which shares the machine.
    pub s3_cpu: f64,
    /// Most bytes that one process held (of savepoint: its own process).
    pub peak_process: u64,
    /// Most bytes that all processes held together at one time, shared memory counted once.
    pub peak_tree: u64,
    /// Bytes stored.
    pub stored: u64,
    /// Requests that the S3 server answered; `None` when it could not say.
    pub requests: Option<u64>,
    /// Memory of the first process over time: seconds and bytes.
    #[serde(skip)]
    pub rss: Vec<(f64, u64)>,
}

impl Run {
    /// CPU seconds of the whole tree.
    pub fn client_cpu(&self) -> f64 {
        self.own_cpu + self.children_cpu
    }
}

/// Runs a job to its end; any exit code but 0 is an error that holds the end of what it printed. `log` is overwritten.
/// `stop` breaks it off, with everything that it started.
pub fn run(job: &Job, servers: Servers, log: &Path, stop: &CancellationToken) -> Result<Run> {
    let before = (tree_cpu(servers.postgres), tree_cpu(servers.s3));
    let out = fs::File::create(log)?;
    let began = Instant::now();
    // The child ends with this thread, whatever becomes of this program.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "--"])
        .args(&job.line)
        .env_clear()
        .envs(job.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("setpriv (of util-linux) does not start")?;
    let pid = child.id();
    let (ended, end) = mpsc::channel();
    let id = Pid::from_raw(pid.try_into()?).context("not a process id")?;
    thread::spawn(move || {
        // It is only looked at, not reaped: its CPU times can still be read then.
        let seen = waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _ = ended.send((Instant::now(), seen.is_ok()));
    });
    let mut run = Run::default();
    let mut tree = BTreeSet::from([pid]);
    let (mut largest, mut own, mut broken) = (0, 0, None);
    let at = loop {
        let seen = look(&mut tree, pid);
        own = own.max(seen.own_peak);
        largest = largest.max(seen.largest);
        run.peak_tree = run.peak_tree.max(seen.together);
        if seen.own > 0 {
            run.rss.push((began.elapsed().as_secs_f64(), seen.own));
        }
        match end.recv_timeout(EVERY) {
            Ok((at, _)) => break at,
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("nobody waits for {}", job.line[0]),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        match broken {
            None if stop.is_cancelled() || began.elapsed() > LIMIT => {
                // A shell leaves its pipeline behind; savepoint ends its own children and cleans up.
                let all = job.line[0] == "bash";
                tree.iter().filter(|&&p| all || p == pid).for_each(|&p| signal(p, Signal::TERM));
                broken = Some(Instant::now());
            }
            Some(since) if since.elapsed() > Duration::from_secs(20) => {
                tree.iter().for_each(|&p| signal(p, Signal::KILL));
            }
            _ => {}
        }
    };
    let [user, system, child_user, child_system] = cpu_times(pid).unwrap_or_default();
    let status = child.wait()?;
    run.wall = at.duration_since(began).as_secs_f64();
    run.own_cpu = user + system;
    run.children_cpu = child_user + child_system;
    run.server_cpu = tree_cpu(servers.postgres) - before.0;
    run.s3_cpu = tree_cpu(servers.s3) - before.1;
    run.peak_process = if job.line[0] == "bash" { largest } else { own };
    // One process' peak is exact, the sum only as often as it was looked at.
    run.peak_tree = run.peak_tree.max(run.peak_process);
    if broken.is_some() {
        ensure!(stop.is_cancelled(), "took longer than {} minutes", LIMIT.as_secs() / 60);
        bail!("broken off");
    }
    if !status.success() {
        let text = fs::read_to_string(log).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(5).collect();
        let how = status.code().map_or(format!("signal {:?}", status.signal()), |c| format!("exit code {c}"));
        bail!("{how}: {}", tail.into_iter().rev().collect::<Vec<_>>().join(" | "));
    }
    Ok(run)
}

struct Look {
    own: u64,
    own_peak: u64,
    largest: u64,
    together: u64,
}

/// Memory of a tree of processes. `tree` holds what was seen so far: one whose parent has ended still belongs to it.
fn look(tree: &mut BTreeSet<u32>, root: u32) -> Look {
    let mut found = Look { own: 0, own_peak: 0, largest: 0, together: 0 };
    let mut shared = 0;
    let mut open: Vec<u32> = tree.iter().copied().collect();
    while let Some(pid) = open.pop() {
        for child in children(pid) {
            if tree.insert(child) {
                open.push(child);
            }
        }
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            // Gone: its number may come to belong to somebody else.
            if pid != root {
                tree.remove(&pid);
            }
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|l| l.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let (peak, private, shmem) = (field("VmHWM"), field("RssAnon") + field("RssFile"), field("RssShmem"));
        if pid == root {
            (found.own, found.own_peak) = (private + shmem, peak);
        }
        found.largest = found.largest.max(peak);
        found.together += private;
        shared = shared.max(shmem);
    }
    found.together += shared;
    found
}

/// Processes that any thread of this one has started and that still live.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = threads.filter_map(|t| fs::read_to_string(t.ok()?.path().join("children")).ok());
    lists.flat_map(|l| l.split_whitespace().filter_map(|p| p.parse().ok()).collect::<Vec<_>>()).collect()
}

/// CPU seconds of a process: user, system, and the same of its children that it has waited for.
fn cpu_times(pid: u32) -> Option<[f64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; after it, user time is the twelfth field.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let seconds = |i: usize| fields.get(i)?.parse::<f64>().ok().map(|t| t / TICKS);
    Some([seconds(11)?, seconds(12)?, seconds(13)?, seconds(14)?])
}

/// CPU seconds of a process and of all that it has started.
fn tree_cpu(root: u32) -> f64 {
    let (mut sum, mut open) = (0.0, vec![root]);
    while let Some(pid) = open.pop() {
        sum += cpu_times(pid).unwrap_or_default().iter().sum::<f64>();
        open.extend(children(pid));
    }
    sum
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = pid.try_into().ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
