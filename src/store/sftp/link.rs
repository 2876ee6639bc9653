//! The connection to an SFTP server: the program ssh, which is started anew when it has broken off.

use super::server::{Files, Server};
use crate::error::{Error, Kind, Result};
use openssh_sftp_client::{Sftp, SftpOptions, error::SftpErrorKind};
use std::{
    fmt,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// How often something is tried, each time over another connection.
const TRIES: u32 = 3;

/// The pause before the second try; doubled for the next.
const PAUSE: Duration = Duration::from_millis(500);

/// What ssh writes to its error output is kept from the end, in bytes.
const SAID: usize = 4096;

/// One connection. The program ends with it.
pub(super) struct Connection {
    pub(super) sftp: Sftp,
    _ssh: Child,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server's answer.
    Answered(SftpErrorKind, String),
    /// There was none.
    Broken(Error),
}

/// A server and the connection to it, if there is one.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) server: Server,
    args: Vec<String>,
    _files: Files,
    current: tokio::sync::Mutex<Option<Arc<Connection>>>,
}

impl Link {
    pub(super) fn new(server: Server) -> Result<Self> {
        let (args, files) = server.arguments()?;
        Ok(Link { server, args, _files: files, current: tokio::sync::Mutex::new(None) })
    }

    /// Does something that may be done twice. It is done over another connection when this one breaks off, or when nothing has come of it
    /// for as long as a transfer may stand still.
    pub(super) async fn run<T, F>(&self, work: impl Fn(Arc<Connection>) -> F + Send + Sync) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, openssh_sftp_client::Error>> + Send,
    {
        let mut pause = PAUSE;
        let mut tried = 1;
        loop {
            let connection = match self.get().await {
                Ok(connection) => connection,
                Err(NoConnection { error, lasts }) if lasts || tried == TRIES => return Err(Failure::Broken(error)),
                Err(_) => {
                    tokio::time::sleep(pause).await;
                    (pause, tried) = (pause * 2, tried + 1);
                    continue;
                }
            };
            let broken = match tokio::time::timeout(self.server.stall, work(connection.clone())).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(openssh_sftp_client::Error::SftpError(kind, said))) => {
                    return Err(Failure::Answered(kind, said.to_string()));
                }
                Ok(Err(e)) => self.broken("the connection broke off").because(e),
                Err(_) => self.broken(&format!("no answer for {} s", self.server.stall.as_secs())),
            };
            let mut current = self.current.lock().await;
            if current.as_ref().is_some_and(|c| Arc::ptr_eq(c, &connection)) {
                *current = None;
            }
            drop(current);
            if tried == TRIES {
                return Err(Failure::Broken(broken));
            }
            tokio::time::sleep(pause).await;
            (pause, tried) = (pause * 2, tried + 1);
        }
    }

    async fn get(&self) -> Result<Arc<Connection>, NoConnection> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        Ok(current.insert(Arc::new(self.connect().await?)).clone())
    }

    async fn connect(&self) -> Result<Connection, NoConnection> {
        let mut command = Command::new("ssh");
        command.args(&self.args).env_clear().envs(self.server.env.iter().map(|(name, value)| (name, value)));
        // A group of its own: a Ctrl-C is ours to answer, and what was begun is removed over this connection.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut ssh = command.spawn().map_err(|e| {
            let error = Error::new(Kind::Store, "cannot start the program ssh").because(e);
            NoConnection { error: error.hint("apt-get install openssh-client"), lasts: true }
        })?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (ssh.stdin.take(), ssh.stdout.take(), ssh.stderr.take()) else {
            return Err(NoConnection { error: self.broken("ssh has no pipes"), lasts: true });
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let listening = tokio::spawn(listen(stderr, said.clone()));
        let opened = tokio::time::timeout(self.server.stall, Sftp::new(stdin, stdout, SftpOptions::new())).await;
        let why = match opened {
            Ok(Ok(sftp)) => return Ok(Connection { sftp, _ssh: ssh }),
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("no answer for {} s", self.server.stall.as_secs()),
        };
        let _ = ssh.start_kill();
        let _ = tokio::time::timeout(Duration::from_secs(1), listening).await;
        let said = said.lock().unwrap_or_else(PoisonError::into_inner);
        Err(self.refused(&String::from_utf8_lossy(&said), &why))
    }

    fn broken(&self, why: &str) -> Error {
        Error::new(Kind::Store, format!("no connection to {}: {why}", self.server.label))
            .hint("check that this machine reaches the server, and that it offers SFTP there")
    }

    /// The cure of what ssh complains about.
    fn refused(&self, said: &str, why: &str) -> NoConnection {
        let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Warning:"));
        // Of a long complaint about a changed key the last line says what came of it.
        let error = self.broken(lines.next_back().unwrap_or(why));
        let port = self.server.port.map_or(String::new(), |port| format!("-p {port} "));
        let knows = |what: &str| said.contains(what);
        let (hint, lasts) = if knows("Host key verification failed") || knows("REMOTE HOST IDENTIFICATION HAS CHANGED")
        {
            let shown = format!(
                "ssh-keyscan {port}{} shows it; compare it with what the server's owner says",
                self.server.host
            );
            let set = "or set SAVEPOINT_SFTP_KNOWN_HOSTS to such a file or its lines";
            (format!("put the server's key into ~/.ssh/known_hosts, {set}: {shown}"), true)
        } else if knows("Permission denied") {
            let set =
                "set SAVEPOINT_SFTP_KEY to the private key or its file (one without a passphrase), or run an ssh-agent";
            (set.to_owned(), true)
        } else if knows("subsystem request failed") {
            ("ask the server's owner for SFTP (Subsystem sftp in its sshd_config)".to_owned(), true)
        } else if knows("Could not resolve") || knows("refused") || knows("timed out") || knows("unreachable") {
            ("check host and port of --destination: sftp://user@host:port/path".to_owned(), false)
        } else {
            return NoConnection { error, lasts: false };
        };
        NoConnection { error: error.hint(hint), lasts }
    }
}

/// Why there is no connection, and whether another try would end the same.
struct NoConnection {
    error: Error,
    lasts: bool,
}

/// Keeps the end of what is said.
async fn listen(mut from: impl AsyncRead + Unpin, said: Arc<Mutex<Vec<u8>>>) {
    let mut chunk = [0; 1024];
    while let Ok(n @ 1..) = from.read(&mut chunk).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&chunk[..n]);
        let more = said.len().saturating_sub(SAID);
        said.drain(..more);
    }
}
