//! pg_dump, pg_restore, initdb and postgres of one major version, and running them without leaking anything.

use super::{alive::Program, conninfo::Target};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};
use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStdout, Command};

/// The programs of one PostgreSQL installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// Major version.
    pub major: u32,
    /// The folder they lie in.
    pub dir: PathBuf,
    /// `pg_dump`.
    pub pg_dump: PathBuf,
    /// `pg_restore`.
    pub pg_restore: PathBuf,
    /// `pg_dumpall`.
    pub pg_dumpall: Option<PathBuf>,
    /// `initdb`; comes with the server.
    pub initdb: Option<PathBuf>,
    /// `postgres`; comes with the server.
    pub postgres: Option<PathBuf>,
    /// pg_dump's version as it prints it, such as `17.5 (Debian 17.5-1.pgdg120+1)`.
    pub version: String,
}

/// Finds the programs of this major version in the first of `dirs` that has them; `need_server` asks for `initdb` and
/// `postgres` as well. Debian's `pg_wrapper`, which poses as whatever version some cluster has, is passed over.
/// The error (`Kind::Tool`) says what was found where, and how the missing ones are installed.
pub async fn find(major: u32, dirs: &[PathBuf], need_server: bool) -> Result<Tools> {
    let mut seen = Vec::new();
    for dir in dirs {
        let program = |name: &str| Some(dir.join(name)).filter(|p| p.is_file() && !is_wrapper(p));
        let Some(pg_dump) = program("pg_dump") else { continue };
        let (found, version) = match version_of(&pg_dump).await {
            Ok(v) => v,
            Err(e) => {
                seen.push(format!("{}: {}", pg_dump.display(), e.one_line()));
                continue;
            }
        };
        if found != major {
            seen.push(format!("{} is {version}", pg_dump.display()));
            continue;
        }
        let Some(pg_restore) = program("pg_restore") else {
            seen.push(format!("{} has pg_dump {version} but no pg_restore", dir.display()));
            continue;
        };
        let (initdb, postgres) = (program("initdb"), program("postgres"));
        if need_server {
            let (Some(_), Some(server)) = (&initdb, &postgres) else {
                seen.push(format!("{} has pg_dump {version} but no server (initdb, postgres)", dir.display()));
                continue;
            };
            let (server_major, server_version) = version_of(server).await?;
            if server_major != major {
                seen.push(format!("{} is {server_version}", server.display()));
                continue;
            }
        }
        let (dir, pg_dumpall) = (dir.clone(), program("pg_dumpall"));
        return Ok(Tools { major, dir, pg_dump, pg_restore, pg_dumpall, initdb, postgres, version });
    }
    let wanted = if need_server { "server and client programs" } else { "client programs (pg_dump, pg_restore)" };
    let package = if need_server { format!("postgresql-{major}") } else { format!("postgresql-client-{major}") };
    let mut message = format!("the PostgreSQL {major} {wanted} are not installed");
    if !seen.is_empty() {
        message.push_str(&format!("; found: {}", seen.join(", ")));
    }
    Err(Error::new(Kind::Tool, message).hint(format!(
        "apt-get install {package} (from PostgreSQL's own archive, https://wiki.postgresql.org/wiki/Apt, where the \
         distribution has another major), or name their folder with --pg-bin-dir"
    )))
}

fn is_wrapper(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|p| p.file_name().is_some_and(|n| n == "pg_wrapper"))
}

async fn version_of(program: &Path) -> Result<(u32, String)> {
    let output = Run::new(program).arg("--version").output().await?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    parse_version(&text).ok_or_else(|| Error::new(Kind::Tool, format!("{} prints no version", program.display())))
}

/// `pg_dump (PostgreSQL) 17.5 (Debian 17.5-1)` to 17 and `17.5 (Debian 17.5-1)`; also `19beta1`, `19devel`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let version = text.split_once("(PostgreSQL) ")?.1.trim();
    let digits = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    Some((version[..digits].parse().ok()?, version.to_owned()))
}

/// Takes a line that a program wrote to stderr, already masked.
pub type OnLine = Arc<dyn Fn(&str) + Send + Sync>;

/// Where a program's stdout goes.
#[derive(Debug, Default)]
pub enum Stdout {
    /// Into [`Output::stdout`].
    #[default]
    Capture,
    /// Nowhere.
    Null,
    /// Into a file.
    File(std::fs::File),
}

/// A program to run. It gets an empty environment but for `LC_ALL=C`, `PATH=/usr/bin:/bin` and what [`Run::env`]
/// adds, and no stdin; when the future that waits for it is dropped, it is killed.
pub struct Run {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    secrets: Vec<Secret>,
    uid: Option<(u32, u32)>,
    dir: Option<PathBuf>,
    stdout: Stdout,
    on_line: Option<OnLine>,
    /// Where it connects to, and the name of its sessions.
    connects: Option<(Target, String)>,
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Output {
    /// Exit status.
    pub status: ExitStatus,
    /// What it wrote to stdout, when captured.
    pub stdout: Vec<u8>,
    /// The last lines that it wrote to stderr (at most 200), masked.
    pub stderr_lines: Vec<String>,
}

/// Lines of stderr that are kept, and bytes that are kept of one.
const MAX_LINES: usize = 200;
const MAX_LINE: usize = 8192;

impl Run {
    /// A run of this program without arguments.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Run {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            secrets: Vec::new(),
            uid: None,
            dir: None,
            stdout: Stdout::default(),
            on_line: None,
            connects: None,
        }
    }

    /// Adds an argument. Everyone on the machine can read it: never a secret.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds environment variables, such as those of [`Target::child_env`](super::conninfo::Target::child_env).
    pub fn env(mut self, env: impl IntoIterator<Item = (String, OsString)>) -> Self {
        self.env.extend(env);
        self
    }

    /// Connects to this server and database by the environment, and masks its password in every line. Where it stands still although the
    /// server does not work for it, it is given up.
    pub fn target(self, target: &Target) -> Self {
        // Known to the server by a name of its own, which says whose it is.
        let id = &uuid::Uuid::new_v4().simple().to_string()[..8];
        let application_name = format!("{} of savepoint {id}", self.name());
        let mut run = self.env(target.child_env()).env([("PGAPPNAME".to_owned(), application_name.clone().into())]);
        run.secrets.extend(target.password.clone());
        run.connects = Some((target.clone(), application_name));
        run
    }

    /// Masks this value in every line that the program writes to stderr.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Runs it as this user and group, without any other group.
    pub fn uid(mut self, uid: Option<(u32, u32)>) -> Self {
        self.uid = uid;
        self
    }

    /// Runs it in this folder.
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Says where its stdout goes.
    pub fn stdout(mut self, stdout: Stdout) -> Self {
        self.stdout = stdout;
        self
    }

    /// Has each line of its stderr handed to `on_line` as it comes.
    pub fn on_line(mut self, on_line: OnLine) -> Self {
        self.on_line = Some(on_line);
        self
    }

    fn name(&self) -> String {
        self.program.file_name().unwrap_or(self.program.as_os_str()).to_string_lossy().into_owned()
    }

    /// Runs it to its end; an exit status other than 0 is an error (`Kind::Tool`) with its last words.
    pub async fn output(self) -> Result<Output> {
        let name = self.name();
        let output = self.output_any_status().await?;
        if output.status.success() { Ok(output) } else { Err(output.error(&name)) }
    }

    /// Runs it to its end and hands back the exit status, whatever it is. Fails only when it cannot be run.
    pub async fn output_any_status(mut self) -> Result<Output> {
        let mut command = self.command();
        let capture = matches!(self.stdout, Stdout::Capture);
        command.stdout(match std::mem::take(&mut self.stdout) {
            Stdout::Capture => Stdio::piped(),
            Stdout::Null => Stdio::null(),
            Stdout::File(file) => file.into(),
        });
        let mut child = command.spawn().map_err(self.failed())?;
        // The file's write end must not stay open here.
        drop(command);
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let read_out = async {
            let mut bytes = Vec::new();
            if let Some(mut out) = out.filter(|_| capture) {
                out.read_to_end(&mut bytes).await?;
            }
            std::io::Result::Ok(bytes)
        };
        let pid = child.id();
        let ended =
            async { tokio::join!(read_out, read_lines(err, &self.secrets, self.on_line.as_ref()), child.wait()) };
        let (stdout, lines, status) = tokio::select! {
            ended = ended => ended,
            dead = self.is_dead(pid, None) => return Err(dead),
        };
        let output = (|| std::io::Result::Ok(Output { status: status?, stdout: stdout?, stderr_lines: lines? }))();
        output.map_err(self.unwatched())
    }

    /// Runs it while `reader` reads its stdout. A reader that has had enough says so, and then it is ended.
    ///
    /// # Errors
    /// When it cannot be run.
    pub async fn piped<T>(self, reader: impl AsyncFnOnce(OwnedFd) -> (T, Enough)) -> Result<(Output, T)> {
        let mut command = self.command();
        command.stdout(Stdio::piped());
        let mut child = command.spawn().map_err(self.failed())?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let out = out.ok_or_else(|| std::io::Error::other("it has no stdout")).and_then(ChildStdout::into_owned_fd);
        let out = out.map_err(self.unwatched())?;
        let (pid, pipe) = (child.id(), out.try_clone().ok());
        let reading = async {
            let (read, enough) = reader(out).await;
            let ended = match enough {
                // It tells the server that nobody waits any more.
                Enough::Yes => child.id().map_or(Ok(()), terminate),
                Enough::No => Ok(()),
            };
            (read, ended.and(child.wait().await))
        };
        let ended = async { tokio::join!(reading, read_lines(err, &self.secrets, self.on_line.as_ref())) };
        let ((read, status), lines) = tokio::select! {
            ended = ended => ended,
            dead = self.is_dead(pid, pipe) => return Err(dead),
        };
        let output = (|| std::io::Result::Ok(Output { status: status?, stdout: Vec::new(), stderr_lines: lines? }))();
        Ok((output.map_err(self.unwatched())?, read))
    }

    /// Returns when it is waited for in vain.
    async fn is_dead(&self, pid: Option<u32>, pipe: Option<OwnedFd>) -> Error {
        let Some(pid) = pid else { return std::future::pending().await };
        Program { name: &self.name(), pid, connects: self.connects.as_ref(), pipe }.is_dead().await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .env("LC_ALL", "C")
            .env("PATH", "/usr/bin:/bin")
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some((uid, gid)) = self.uid {
            command.uid(uid).gid(gid);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn failed(&self) -> impl FnOnce(std::io::Error) -> Error {
        let what = format!("{} cannot be run", self.program.display());
        move |e| Error::new(Kind::Tool, what).because(e)
    }

    fn unwatched(&self) -> impl FnOnce(std::io::Error) -> Error {
        let what = format!("{} cannot be watched", self.program.display());
        move |e| Error::new(Kind::Tool, what).because(e)
    }
}

fn terminate(pid: u32) -> std::io::Result<()> {
    use rustix::process::{Pid, Signal, kill_process};
    let Some(pid) = pid.try_into().ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(pid, Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether a reader wants no more of a program's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enough {
    /// The program may be ended.
    Yes,
    /// It ends by itself.
    No,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment holds the password.
        f.debug_struct("Run").field("program", &self.program).field("args", &self.args).finish_non_exhaustive()
    }
}

impl Output {
    /// The error for a program of this name that ended so: its own error lines first, else its last words.
    pub fn error(&self, name: &str) -> Error {
        use std::os::unix::process::ExitStatusExt;
        let how = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            _ => "no exit status".to_owned(),
        };
        let is_error = |l: &&String| ["error:", "fatal:", "FATAL:", "PANIC:", "ERROR:"].iter().any(|w| l.contains(w));
        let mut words: Vec<&str> = self.stderr_lines.iter().filter(is_error).take(5).map(String::as_str).collect();
        if words.is_empty() {
            words = self.stderr_lines.iter().rev().take(3).rev().map(String::as_str).collect();
        }
        let prefix = format!("{name}: ");
        let words = words.iter().map(|w| w.strip_prefix(&prefix).unwrap_or(w)).collect::<Vec<_>>().join("; ");
        let error = Error::new(
            Kind::Tool,
            if words.is_empty() { format!("{name} failed ({how})") } else { format!("{name} failed ({how}): {words}") },
        );
        match self.status.signal() {
            Some(9) => error.hint("something killed it, most often the machine running out of memory"),
            _ => error,
        }
    }
}

async fn read_lines(
    from: Option<impl AsyncRead + Unpin>,
    secrets: &[Secret],
    on_line: Option<&OnLine>,
) -> std::io::Result<Vec<String>> {
    let Some(mut from) = from else { return Ok(Vec::new()) };
    let mut kept = std::collections::VecDeque::new();
    let mut take = |line: &[u8]| {
        let mut line = String::from_utf8_lossy(line).trim_end().to_owned();
        if line.is_empty() {
            return;
        }
        for secret in secrets.iter().filter(|s| !s.expose().is_empty()) {
            line = line.replace(secret.expose(), "***");
        }
        if let Some(on_line) = on_line {
            on_line(&line);
        }
        kept.push_back(line);
        if kept.len() > MAX_LINES {
            kept.pop_front();
        }
    };
    let mut line = Vec::new();
    let mut chunk = vec![0; 4096];
    loop {
        let n = from.read(&mut chunk).await?;
        if n == 0 {
            take(&line);
            return Ok(kept.into());
        }
        for byte in &chunk[..n] {
            match byte {
                b'\n' => {
                    take(&line);
                    line.clear();
                }
                b if line.len() < MAX_LINE => line.push(*b),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn program(dir: &Path, name: &str, body: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn versions() {
        for (text, major, version) in [
            ("pg_dump (PostgreSQL) 17.5 (Debian 17.5-1.pgdg120+1)", 17, "17.5 (Debian 17.5-1.pgdg120+1)"),
            ("postgres (PostgreSQL) 19beta1", 19, "19beta1"),
        ] {
            assert_eq!(parse_version(text), Some((major, version.to_owned())));
        }
        assert_eq!(parse_version("pg_dump 17.5"), None);
    }

    #[tokio::test]
    async fn find_passes_the_wrapper_over_and_says_what_it_saw() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| {
            let dir = root.path().join(name);
            std::fs::create_dir(&dir).unwrap();
            dir
        };
        let (wrapped, old, client, server) = (dir("bin"), dir("15"), dir("17c"), dir("17s"));
        let share = dir("share");
        let wrapper = program(&share, "pg_wrapper", "echo 'pg_dump (PostgreSQL) 17.9'");
        for name in ["pg_dump", "pg_restore", "initdb", "postgres"] {
            std::os::unix::fs::symlink(&wrapper, wrapped.join(name)).unwrap();
            program(&old, name, "echo 'x (PostgreSQL) 15.3'");
            program(&server, name, "echo 'x (PostgreSQL) 17.5'");
        }
        for name in ["pg_dump", "pg_restore"] {
            program(&client, name, "echo 'x (PostgreSQL) 17.4'");
        }
        let dirs = [wrapped, old, client.clone(), server.clone()];
        let tools = find(17, &dirs, false).await.unwrap();
        assert_eq!((tools.dir, tools.version.as_str(), tools.initdb), (client.clone(), "17.4", None));
        let tools = find(17, &dirs, true).await.unwrap();
        assert_eq!((tools.dir, tools.initdb), (server.clone(), Some(server.join("initdb"))));
        let e = find(17, &dirs[..3], true).await.unwrap_err();
        assert!(e.message().contains("15.3") && e.message().contains("no server"), "{e}");
        assert!(!e.message().contains("17.9"), "{e}");
        assert!(e.hint_text().unwrap().starts_with("apt-get install postgresql-17 "), "{e:?}");
    }

    #[tokio::test]
    async fn run_keeps_the_environment_out_and_secrets_masked() {
        let dir = tempfile::tempdir().unwrap();
        let shell = |script: &str| Run::new("/bin/sh").arg("-c").arg(script);
        let output = shell("/usr/bin/env | sort").env([("PGUSER".to_owned(), "u".into())]).output().await.unwrap();
        let seen = String::from_utf8(output.stdout).unwrap();
        let names: Vec<&str> = seen.lines().filter_map(|l| l.split('=').next()).collect();
        // The shell itself adds PWD (and some add SHLVL and _).
        let names: Vec<&str> = names.into_iter().filter(|n| !["PWD", "OLDPWD", "SHLVL", "_"].contains(n)).collect();
        assert_eq!(names, ["LC_ALL", "PATH", "PGUSER"]);

        let lines = Arc::new(std::sync::Mutex::new(Vec::new()));
        let sink = lines.clone();
        let e = shell(
            "echo pg_dump: note >&2; echo 'pg_dump: error: no Hunter2Mark here' >&2; echo pg_dump: detail >&2; exit 3",
        )
        .secret(Secret::new("Hunter2Mark"))
        .on_line(Arc::new(move |l: &str| sink.lock().unwrap().push(l.to_owned())))
        .output()
        .await
        .unwrap_err();
        assert_eq!(e.message(), "sh failed (exit status 3): pg_dump: error: no *** here");
        assert_eq!(*lines.lock().unwrap(), ["pg_dump: note", "pg_dump: error: no *** here", "pg_dump: detail"]);

        let output = shell("seq 1 1000 >&2; exit 1").output_any_status().await.unwrap();
        assert_eq!((output.status.code(), output.stderr_lines.len()), (Some(1), MAX_LINES));
        let file = std::fs::File::create(dir.path().join("out")).unwrap();
        shell("echo into a file").stdout(Stdout::File(file)).output().await.unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("out")).unwrap(), "into a file\n");
        let e = shell("kill -9 $$").output().await.unwrap_err();
        assert!(e.message().contains("signal 9"), "{e}");
        assert!(Run::new("/no/such/program").output().await.is_err());
    }
}
