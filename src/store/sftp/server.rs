//! What can be said of an SFTP server: its address, and with what a connection is made.

use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
    store::{dal::Host, place::Given},
};
use std::{
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::NamedTempFile;

pub(super) const SCHEME: &str = "sftp://";

/// The private key: its file, or its text. Without it, ssh's own (an agent, `~/.ssh`).
const KEY: &str = "SAVEPOINT_SFTP_KEY";
/// The keys that the server may have: a file, or its lines. Without it, ssh's own (`~/.ssh/known_hosts`).
const KNOWN_HOSTS: &str = "SAVEPOINT_SFTP_KNOWN_HOSTS";

/// What the program ssh needs of the environment; everything else stays with us, and with it the database's password.
const KEPT: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "LANG"];

/// An SFTP server and how it is reached.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// The address for people.
    pub(super) label: String,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    user: Option<String>,
    /// Where keys begin, as the server is told.
    pub(super) root: String,
    key: Option<Material>,
    known_hosts: Option<Material>,
    pub(super) env: Vec<(&'static str, String)>,
    pub(super) stall: Duration,
}

/// A file, or what is to stand in one.
#[derive(Clone, Debug)]
enum Material {
    File(PathBuf),
    Text(Secret),
}

impl Server {
    /// Checks an address. `sftp://host/a/b` is `/a/b`; `sftp://host/~/b` lies below the user's home.
    pub(super) fn check(given: &Given<'_>) -> Result<Self> {
        let address = Host::of(given, SCHEME)?;
        let root = match address.path.as_str() {
            "~" => ".".to_owned(),
            path => path.strip_prefix("~/").map_or_else(|| format!("/{path}"), str::to_owned),
        };
        let user = address.user.as_ref().map_or(String::new(), |user| format!("{user}@"));
        let label = format!("{SCHEME}{user}{}/{}", address.host, address.path);
        let (host, port) = address.split();
        let env = KEPT.into_iter().filter_map(|name| Some((name, given.env.get(name)?))).collect();
        Ok(Server {
            label: label.trim_end_matches('/').to_owned(),
            host: host.to_owned(),
            port,
            user: address.user.clone(),
            root,
            key: material(given, KEY, |text| text.contains("-----BEGIN"))?,
            known_hosts: material(given, KNOWN_HOSTS, |text| text.split_whitespace().count() > 2)?,
            env,
            stall: given.stall,
        })
    }

    /// The arguments of ssh, which speaks SFTP over its standard input and output; and the files that they name.
    pub(super) fn arguments(&self) -> Result<(Vec<String>, Files)> {
        let mut files = Vec::new();
        // No questions, nothing forwarded, and no server whose key is not known: it would be handed the backup.
        let options = [
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            "UpdateHostKeys=no",
            "ClearAllForwardings=yes",
            "PermitLocalCommand=no",
            "ConnectTimeout=10",
            "ServerAliveInterval=10",
            "ServerAliveCountMax=3",
        ];
        let mut args: Vec<String> = options.iter().flat_map(|option| ["-o".into(), (*option).to_owned()]).collect();
        if let Some(known) = &self.known_hosts {
            let path = known.file(&mut files)?;
            args.extend(["-o".into(), format!("UserKnownHostsFile={}", quoted(&path)?)]);
            args.extend(["-o".into(), "GlobalKnownHostsFile=none".into()]);
        }
        if let Some(key) = &self.key {
            args.extend([
                "-i".into(),
                key.file(&mut files)?.display().to_string(),
                "-o".into(),
                "IdentitiesOnly=yes".into(),
            ]);
        }
        if let Some(port) = self.port {
            args.extend(["-p".into(), port.to_string()]);
        }
        if let Some(user) = &self.user {
            args.extend(["-l".into(), user.clone()]);
        }
        args.extend(["-s".into(), "--".into(), self.host.clone(), "sftp".into()]);
        Ok((args, Arc::new(files)))
    }
}

/// Files that go when nobody needs them any more.
pub(super) type Files = Arc<Vec<NamedTempFile>>;

fn material(given: &Given<'_>, name: &str, is_text: fn(&str) -> bool) -> Result<Option<Material>> {
    let Some(value) = given.env.get(name) else { return Ok(None) };
    if is_text(&value) {
        return Ok(Some(Material::Text(Secret::new(value))));
    }
    let path = given.below_base(&value);
    if path.is_file() {
        return Ok(Some(Material::File(path)));
    }
    // It may be a key that was cut off: not the value itself.
    Err(given
        .refuse(&format!("the variable {name} names no file"))
        .hint(format!("set {name} to the file's path, or to its text")))
}

impl Material {
    fn file(&self, files: &mut Vec<NamedTempFile>) -> Result<PathBuf> {
        let text = match self {
            Material::File(path) => return Ok(path.clone()),
            Material::Text(text) => text,
        };
        let cannot = |e| Error::new(Kind::Io, "cannot write a file for ssh").because(e);
        let mut file = NamedTempFile::with_prefix("savepoint-ssh-").map_err(cannot)?;
        // A key without a line end behind its last line is no key to ssh.
        writeln!(file, "{}", text.expose()).and_then(|()| file.flush()).map_err(cannot)?;
        let path = file.path().to_owned();
        files.push(file);
        Ok(path)
    }
}

/// A path as an option of ssh takes it.
fn quoted(path: &Path) -> Result<String> {
    let text = path.display().to_string();
    if text.contains(['"', '%']) {
        return Err(Error::new(Kind::Usage, format!("ssh takes no path with a quote or a percent sign: {text}")));
    }
    Ok(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::place::Env;

    #[test]
    fn addresses_and_what_ssh_is_told() {
        let env = |name: &str| (name == KEY).then(|| "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2".to_owned());
        let server = |address: &str| Server::check(&Given::plain(address, Env(&env))).expect("is valid");
        let found = server("sftp://me@files.example.com:2222/srv/a%20b");
        assert_eq!(
            (found.label.as_str(), found.root.as_str()),
            ("sftp://me@files.example.com:2222/srv/a b", "/srv/a b")
        );
        assert_eq!(server("sftp://h/~/b").root, "b");
        assert_eq!((server("sftp://h/~").root, server("sftp://h").root), (".".into(), "/".into()));
        let (args, files) = found.arguments().expect("has arguments");
        let line = args.join(" ");
        assert!(line.ends_with("-p 2222 -l me -s -- files.example.com sftp"), "{line}");
        assert!(line.contains("StrictHostKeyChecking=yes") && !line.contains("hunter2"), "{line}");
        assert_eq!(files.len(), 1);
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
