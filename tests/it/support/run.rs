//! The real binary, run as a user runs it.

use super::{Result, s3, scratch};
use anyhow::{Context, ensure};
use savepoint::{
    backup::BackupConfig,
    engine::Engine,
    postgres::conninfo::{SslMode, Target},
    store::Destination,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::process::{Child, Command};

/// A run of `savepoint` in the making. The environment holds nothing but what is set here.
#[derive(Debug)]
pub struct Savepoint {
    wrapper: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    scratch: Arc<tempfile::TempDir>,
}

// A builder takes itself; `to_…` names where the backup goes.
#[allow(clippy::wrong_self_convention)]
impl Savepoint {
    /// A run with these arguments.
    pub fn new<S: Into<String>>(args: impl IntoIterator<Item = S>) -> Result<Self> {
        let scratch = Arc::new(scratch()?);
        let env = [("PATH", "/usr/bin:/bin"), ("HOME", "/nonexistent"), ("AWS_EC2_METADATA_DISABLED", "true")];
        Ok(Self {
            wrapper: Vec::new(),
            args: args.into_iter().map(Into::into).collect(),
            env: env.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            scratch,
        })
    }

    /// `savepoint backup` of a database, by the programs in `bin`. The URL goes by a variable: it may hold a password.
    pub fn backup(url: &str, bin: &Path) -> Result<Self> {
        Ok(Self::new(["backup", "--pg-bin-dir", &bin.display().to_string()])?.env("SAVEPOINT_DATABASE_URL", url))
    }

    /// Into a bucket of the test's S3 server.
    pub fn to_s3(self, endpoint: &str, bucket: &str, prefix: &str) -> Self {
        self.args(["--destination", &format!("s3://{bucket}/{prefix}"), "--s3-endpoint", endpoint])
            .env("AWS_ACCESS_KEY_ID", s3::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", s3::SECRET_KEY)
    }

    /// Into a folder.
    pub fn to_folder(self, dir: &Path) -> Self {
        self.args(["--destination", &dir.display().to_string()])
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Without the first option of this name, and its value.
    pub fn without(mut self, option: &str) -> Self {
        if let Some(at) = self.args.iter().position(|a| a == option) {
            self.args.drain(at..(at + 2).min(self.args.len()));
        }
        self
    }

    /// Runs it by another program, such as `unshare --pid --fork`.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&w| w.to_owned()).collect();
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets this run use the same temporary folder as another one, as runs on one machine do.
    pub fn same_scratch(mut self, other: &Arc<tempfile::TempDir>) -> Self {
        self.scratch = other.clone();
        self
    }

    /// The run's temporary folder (`TMPDIR`).
    pub fn scratch(&self) -> Arc<tempfile::TempDir> {
        self.scratch.clone()
    }

    /// Starts it.
    pub fn spawn(self) -> Result<Running> {
        let mut line = self.wrapper.clone();
        line.push(env!("CARGO_BIN_EXE_savepoint").to_owned());
        let child = Command::new(&line[0])
            .args(&line[1..])
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .env("TMPDIR", self.scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("it has ended already")?;
        Ok(Running { child, pid, scratch: self.scratch })
    }

    /// Runs it, and does something to it or around it once it has said these words.
    pub async fn when_it_says(self, words: &str, act: impl AsyncFnOnce(&Running) -> Result) -> Result<Ended> {
        let log = scratch()?;
        let path = log.path().join("stderr");
        let said = || fs::read_to_string(&path).unwrap_or_default();
        let redirect = format!("exec \"$0\" \"$@\" 2>{}", path.display());
        let run = self.under(&["/bin/sh", "-c", &redirect]).spawn()?;
        let end = Instant::now() + Duration::from_secs(90);
        while !said().contains(words) {
            ensure!(Instant::now() < end, "it never said {words:?}: {}", said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        act(&run).await?;
        let mut ended = run.wait().await?;
        ended.stderr = fs::read_to_string(&path)?;
        Ok(ended)
    }

    /// Runs it to its end.
    pub async fn run(self) -> Result<Ended> {
        self.spawn()?.wait().await
    }
}

/// A run that goes on.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// Process id.
    pub pid: u32,
    /// Its temporary folder.
    pub scratch: Arc<tempfile::TempDir>,
}

impl Running {
    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result {
        kill(self.pid, signal)
    }

    /// Waits for its end; an error when that takes longer than ten minutes.
    pub async fn wait(self) -> Result<Ended> {
        let out = tokio::time::timeout(Duration::from_secs(600), self.child.wait_with_output())
            .await
            .context("savepoint did not end within ten minutes")??;
        Ok(Ended::new(out, self.scratch))
    }

    /// Waits until a descendant's command line contains `needle`; its process id.
    pub async fn descendant(&self, needle: &str) -> Result<u32> {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let all = processes();
            if let Some(p) = all.iter().find(|p| p.cmdline.contains(needle) && descends(&all, p.pid, self.pid)) {
                return Ok(p.pid);
            }
            let alive = all.iter().any(|p| p.pid == self.pid && !p.zombie);
            ensure!(alive, "savepoint ended before it started {needle}");
            ensure!(Instant::now() < end, "savepoint never started {needle}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
    /// Its temporary folder.
    pub scratch: Arc<tempfile::TempDir>,
}

impl Ended {
    fn new(out: Output, scratch: Arc<tempfile::TempDir>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: out.status.code(), stdout: text(&out.stdout), stderr: text(&out.stderr), scratch }
    }

    /// Fails with everything that was printed when the exit code is another one.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "exit code {:?} in place of {code}\n{}", self.code, self.output());
        Ok(self)
    }

    /// Fails unless it was refused with a cure, each of `named` was said, and nothing is left of it.
    pub fn refused(self, code: i32, named: &[&str]) -> Result {
        let ended = self.expect(code)?;
        for name in named {
            ensure!(ended.output().contains(name), "{name:?} is not named\n{}", ended.output());
        }
        ensure!(ended.output().contains("hint: "), "no cure\n{}", ended.output());
        ended.left_nothing()
    }

    /// Everything that was printed.
    pub fn output(&self) -> String {
        format!("--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr)
    }

    /// stdout as JSON (`--json`).
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| self.output())
    }

    /// Fails when the run left a file in its temporary folder or a process that works there.
    pub fn left_nothing(&self) -> Result {
        nothing_left(self.scratch.path())
    }
}

/// Fails when there is a file in `dir`, or a process whose command line or working directory names it.
pub fn nothing_left(dir: &Path) -> Result {
    let files: Vec<PathBuf> = fs::read_dir(dir)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    ensure!(files.is_empty(), "left in the temporary folder: {files:?}");
    let left = processes_of(dir);
    ensure!(left.is_empty(), "left running: {left:?}");
    Ok(())
}

/// Processes whose command line or working directory names `dir`.
pub fn processes_of(dir: &Path) -> Vec<Process> {
    let name = dir.display().to_string();
    processes().into_iter().filter(|p| !p.zombie && (p.cmdline.contains(&name) || p.cwd.starts_with(dir))).collect()
}

/// A process of this machine.
#[derive(Clone, Debug)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// The parent's.
    pub parent: u32,
    /// Ended, but not yet waited for.
    pub zombie: bool,
    /// Its arguments, joined by blanks.
    pub cmdline: String,
    /// Its working directory.
    pub cwd: PathBuf,
}

/// All processes of this machine.
pub fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid = path.file_name()?.to_str()?.parse().ok()?;
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            // The name in parentheses may hold anything.
            let mut rest = stat.rsplit_once(") ")?.1.split(' ');
            let zombie = rest.next()? == "Z";
            let parent = rest.next()?.parse().ok()?;
            let cmdline = fs::read(path.join("cmdline")).ok()?;
            let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
            Some(Process { pid, parent, zombie, cmdline, cwd: fs::read_link(path.join("cwd")).unwrap_or_default() })
        })
        .collect()
}

/// True when `ancestor` is a parent, or a parent's parent and so on, of `pid`.
pub fn descends(all: &[Process], mut pid: u32, ancestor: u32) -> bool {
    while let Some(p) = all.iter().find(|p| p.pid == pid) {
        if p.parent == ancestor {
            return true;
        }
        pid = p.parent;
    }
    false
}

/// Sends a signal to any process.
pub fn kill(pid: u32, signal: rustix::process::Signal) -> Result {
    let pid = rustix::process::Pid::from_raw(pid.try_into()?).context("not a process id")?;
    rustix::process::kill_process(pid, signal)?;
    Ok(())
}

/// Collects the command line of every process of this machine, again and again, until it is told to stop.
#[derive(Debug)]
pub struct CommandLines {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl CommandLines {
    /// Begins.
    pub fn watch() -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
        let (stopped, set) = (stop.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                set.lock().unwrap().extend(processes().into_iter().map(|p| p.cmdline));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stop, seen, thread: Some(thread) }
    }

    /// Ends; everything that was seen.
    pub fn stop(mut self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// A configuration for `savepoint::backup::run` in this process: into a folder, two jobs, everything proven.
pub fn in_process(server: &super::pg::Server, db: &str, store: &Path, temporary: &Path) -> BackupConfig {
    let source = Target {
        stall: savepoint::postgres::conninfo::STALL,
        pooler_flag: false,
        host: server.dir.display().to_string(),
        hostaddr: None,
        port: server.port,
        user: "postgres".to_owned(),
        password: None,
        dbname: db.to_owned(),
        sslmode: SslMode::Disable,
        sslrootcert: None,
        sslcert: None,
        sslkey: None,
        channel_binding: None,
        options: None,
        connect_timeout: None,
    };
    let engine = Engine {
        jobs: 2,
        pg_bin_dirs: vec![server.bin.clone()],
        scratch_dir: Some(temporary.to_owned()),
        ..Engine::default()
    };
    BackupConfig { engine, ..BackupConfig::new(source, Destination::folder(store.to_owned())) }
}
