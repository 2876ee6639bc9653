//! The real servers that the tests use, and the stand-ins for what cannot be had: Slack, a bad network, a bad store.
#![allow(dead_code)]

pub mod compare;
pub mod faulty;
pub mod keys;
pub mod pg;
pub mod proxy;
pub mod remote;
pub mod run;
pub mod s3;
pub mod slack;
pub mod tls;

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

/// The result of tests and of everything here.
pub type Result<T = ()> = anyhow::Result<T>;

/// The majors that every matrix test runs on.
pub const MAJORS: [u32; 5] = [14, 15, 16, 17, 18];

/// Where `scripts/test-stack.sh` put the servers.
pub fn stack() -> PathBuf {
    std::env::var_os("SAVEPOINT_TEST_STACK")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-stack"), PathBuf::from)
}

/// A program of the stack, or an error that says how to get it.
pub fn program(path: PathBuf) -> Result<PathBuf> {
    anyhow::ensure!(path.exists(), "{} is missing; run scripts/test-stack.sh", path.display());
    Ok(path)
}

/// True when the tests run as root; PostgreSQL then runs as [`UNPRIVILEGED`].
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The uid and gid of servers that refuse root.
pub const UNPRIVILEGED: u32 = 65534;

/// Ports that are free now. All are held until the last one is known, so that they differ.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let held: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// A folder of its own under the system's temporary folder, which other uids may enter (a throwaway server's does).
pub fn scratch() -> Result<tempfile::TempDir> {
    scratch_in(&std::env::temp_dir())
}

/// The same below another folder.
pub fn scratch_in(folder: &Path) -> Result<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::Builder::new().prefix("sp-it-").tempdir_in(folder)?;
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

/// A shell that runs a server for as long as this process lives. It waits for the end of its stdin, whose other end only
/// this process holds: when the process ends, also by a panic in another thread or by SIGKILL, the shell stops the server
/// and removes its folder.
#[derive(Debug)]
pub struct Watched {
    shell: Child,
    stdin: Option<ChildStdin>,
    /// The server's process id.
    pub pid: u32,
}

impl Watched {
    /// Runs `script`: shell code that sets `server` to the id of the process that it started. `$1` is `dir`, further
    /// arguments follow; `stop` is the shell code that ends the server.
    pub fn start(script: &str, stop: &str, dir: &Path, args: &[String]) -> Result<Self> {
        // Descriptor 3 is the pipe to the test. The server itself must not hold it, nor the shell's stdin.
        let script = format!(
            r#"trap '' INT TERM HUP PIPE
dir=$1; cd /
{{ {script}
}} 3>&- </dev/null >>"$dir/log" 2>&1
echo "$server" >&3; exec 3>&-
cat >/dev/null
{stop}
wait "$server"
rm -rf "$dir""#
        );
        let mut shell = Command::new("bash")
            .arg("-c")
            .arg(format!("exec 3>&1 >/dev/null\n{script}"))
            .arg("watched-server")
            .arg(dir)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let stdin = shell.stdin.take();
        let mut line = String::new();
        if let Some(out) = shell.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        let pid = line.trim().parse().map_err(|_| {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            let _ = std::fs::remove_dir_all(dir);
            anyhow::anyhow!("a server did not start: {log}")
        })?;
        Ok(Self { shell, stdin, pid })
    }

    /// Ends the server and waits until its folder is gone.
    pub fn stop(&mut self) {
        self.stdin = None;
        let _ = self.shell.wait();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A manifest's bytes after a change, with the digest that belongs to them: a test that changes one on purpose is no damage on the way.
pub fn sealed(manifest: &serde_json::Value) -> Result<Vec<u8>> {
    Ok(savepoint::vault::manifest::sealed(serde_json::to_vec_pretty(manifest)?))
}

/// The folders of the days of these backups as `DAY`: an id begins with its day.
pub fn undated<T: AsRef<str>>(text: &str, ids: &[T]) -> String {
    ids.iter().map(AsRef::as_ref).fold(text.to_owned(), |text, id| {
        text.replace(&format!("{}/{}/{}/{id}", &id[..4], &id[4..6], &id[6..8]), &format!("DAY/{id}"))
    })
}

/// The first file or folder of this name below `dir`.
pub fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.ends_with(name) {
            return Ok(path);
        }
        if path.is_dir()
            && let Ok(found) = find(&path, name)
        {
            return Ok(found);
        }
    }
    anyhow::bail!("no {name} below {}", dir.display())
}

/// Copies a folder and everything in it.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name()))?,
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name()))?),
        }
    }
    Ok(())
}
