//! Runs the team's command with the copy's address, and nothing that leads to the source.

use crate::{
    error::{Error, Kind, Result},
    postgres::conninfo::Target,
    procfs::Group,
    progress::{Event, Progress},
    report::rehearsal::Ended,
    secret::Secret,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::Signal;
use std::{
    collections::VecDeque,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
};

/// Lines of output that are kept, and characters of one.
const LINES: usize = 200;
const LINE: usize = 2000;
/// What a command that is asked to end may take.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Behind the command's end: whoever holds its output may be somebody else.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// Variables that are ours, or that hold the keys to the backups: the command has no business with either.
const OURS: [&str; 4] = ["SAVEPOINT_", "INPUT_", "AWS_", "ACTIONS_"];
/// What an address holds as it is (RFC 3986, "Unreserved Characters"). Not every driver decodes a database's name.
const WORD: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Variables by which libpq finds a server.
const LIBPQ: [&str; 12] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGDATABASE",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGCHANNELBINDING",
];

/// Variables that a command cannot do without, whatever they hold.
const NEEDED: [&str; 6] = ["PATH", "HOME", "PWD", "SHELL", "LANG", "TMPDIR"];
/// Names of this machine, any of which may stand for another.
const LOOPBACK: [&str; 4] = ["localhost", "127.0.0.1", "::1", "0.0.0.0"];

/// How the source is reached, which the command must not.
#[derive(Clone, Debug)]
pub struct Address {
    /// Its host, or the folder of its socket.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its user.
    pub user: String,
    /// Its password, where it is known.
    pub password: Option<Secret>,
}

impl Address {
    /// The names that its host goes by.
    fn names(&self) -> Vec<&str> {
        let own = std::iter::once(self.host.as_str());
        match LOOPBACK.contains(&self.host.as_str()) {
            true => own.chain(LOOPBACK).collect(),
            false => own.collect(),
        }
    }

    /// Whether a text names it: its host as a word, on this machine with the port, or its password.
    fn is_in(&self, text: &str) -> bool {
        let secret = self.password.as_ref().is_some_and(|p| p.expose().len() >= 6 && text.contains(p.expose()));
        let here = LOOPBACK.contains(&self.host.as_str());
        let port = self.port.to_string();
        secret || self.names().iter().any(|name| is_word(text, name)) && (!here || text.contains(&port))
    }

    /// As it may stand in what a command writes.
    pub(super) fn secrets(&self) -> Vec<String> {
        let Some(password) = self.password.as_ref().map(Secret::expose).filter(|p| p.len() >= 4) else {
            return Vec::new();
        };
        vec![password.to_owned(), utf8_percent_encode(password, WORD).to_string()]
    }
}

/// Whether a host's name stands in a text where one can stand: a name without a dot may be a part of any path.
fn is_word(text: &str, name: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    text.match_indices(name).any(|(at, _)| {
        let (before, behind) = (&text[..at], &text[at + name.len()..]);
        let starts = match before.chars().next_back() {
            Some('/') => before.ends_with("//"),
            Some(c) => !inside(c),
            None => true,
        };
        starts && behind.chars().next().is_none_or(|c| !inside(c))
    })
}

/// What stands in the place of a variable that may lead to the source; `None`: it is left out.
fn instead(name: &str, value: &str, source: &Address, copy: &Target) -> Option<String> {
    let bare = value.trim().trim_matches(['"', '\'']);
    let upper = name.to_ascii_uppercase();
    if source.names().contains(&bare) {
        return Some(copy.host.clone());
    }
    if upper.ends_with("PORT") && bare == source.port.to_string() {
        return Some(copy.port.to_string());
    }
    if source.password.as_ref().is_some_and(|p| !p.expose().is_empty() && p.expose() == bare) {
        return Some(copy.password.as_ref().map(|p| p.expose().to_owned()).unwrap_or_default());
    }
    if upper.contains("USER") && bare == source.user {
        return Some(copy.user.clone());
    }
    if NEEDED.contains(&name) || !source.is_in(bare) {
        return Some(value.to_owned());
    }
    // The driver that a scheme names is the application's.
    match bare.split_once("://") {
        Some((scheme, _)) if scheme.starts_with("postgres") => {
            Some(format!("{scheme}{}", url(copy).trim_start_matches("postgresql")))
        }
        None if Target::parse(bare).is_ok_and(|t| source.names().contains(&t.host.as_str())) => Some(url(copy)),
        _ => None,
    }
}

/// The command's environment: ours without what is not its own, and with the copy's address in place of the source's, under whatever name
/// that is kept; and the names of those variables that were left out, as nobody knows what to write in its place.
pub(super) fn environment(
    ours: impl IntoIterator<Item = (String, String)>,
    source: &Address,
    copy: &Target,
) -> (Vec<(String, String)>, Vec<String>) {
    let (mut env, mut left_out) = (Vec::new(), Vec::new());
    for (name, value) in ours {
        if OURS.iter().any(|own| name.starts_with(own)) || LIBPQ.contains(&name.as_str()) || name == "DATABASE_URL" {
            continue;
        }
        match instead(&name, &value, source, copy) {
            Some(value) => env.push((name, value)),
            None => left_out.push(name),
        }
    }
    let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
    set("DATABASE_URL", url(copy));
    for (name, value) in copy.child_env() {
        set(&name, value.to_string_lossy().into_owned());
    }
    set("SAVEPOINT_REHEARSAL", "1".into());
    (env, left_out)
}

/// The copy's address as every driver reads it.
pub(super) fn url(copy: &Target) -> String {
    let word = |text: &str| utf8_percent_encode(text, WORD).to_string();
    let password = copy.password.as_ref().map(|secret| format!(":{}", word(secret.expose()))).unwrap_or_default();
    let (user, database) = (word(&copy.user), word(&copy.dbname));
    if copy.is_socket() {
        return format!("postgresql://{user}{password}@/{database}?host={}&port={}", word(&copy.host), copy.port);
    }
    let mode = match copy.sslmode.name() {
        "disable" => String::new(),
        mode => format!("?sslmode={mode}"),
    };
    let host = if copy.host.contains(':') { format!("[{}]", copy.host) } else { copy.host.clone() };
    format!("postgresql://{user}{password}@{host}:{}/{database}{mode}", copy.port)
}

/// What a command came to.
pub(super) struct Ran {
    pub ended: Ended,
    pub output: Vec<String>,
}

/// The last lines that a command wrote.
#[derive(Default)]
struct Tail(VecDeque<String>);

/// Runs a line of the shell until it ends, or its time is over; it and what it started are gone then, also when this is dropped.
/// `secrets`: never shown.
pub(super) async fn run(
    line: &str,
    folder: &Path,
    env: Vec<(String, String)>,
    limit: Duration,
    secrets: &[String],
    progress: &Arc<dyn Progress>,
) -> Result<Ran> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]).env_clear().envs(env).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    if !folder.as_os_str().is_empty() {
        command.current_dir(folder);
    }
    let mut child =
        command.spawn().map_err(|e| Error::new(Kind::Refused, "the command cannot be started").because(e))?;
    let group = Group::of(child.id());
    let tail = Arc::new(Mutex::new(Tail::default()));
    let readers = futures_util::future::join(
        listen(child.stdout.take(), tail.clone(), secrets.to_vec(), progress.clone()),
        listen(child.stderr.take(), tail.clone(), secrets.to_vec(), progress.clone()),
    );
    let reading = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(readers));
    let ended = match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exit(code),
            (None, signal) => Ended::Signal(signal.unwrap_or_default()),
        },
        Ok(Err(e)) => Ended::Unfinished(format!("the command cannot be waited for: {e}")),
        Err(_) => {
            group.signal(Signal::TERM);
            let _ = tokio::time::timeout(END_WITHIN, child.wait()).await;
            Ended::TimedOut(limit.as_secs())
        }
    };
    // What it left running would go on to change the copy.
    drop(group);
    let _ = tokio::time::timeout(REST_WITHIN, reading).await;
    let output = tail.lock().unwrap_or_else(PoisonError::into_inner).0.drain(..).collect();
    Ok(Ran { ended, output })
}

/// Tells each line, and keeps the last ones.
async fn listen(
    from: Option<impl AsyncRead + Unpin>,
    tail: Arc<Mutex<Tail>>,
    secrets: Vec<String>,
    progress: Arc<dyn Progress>,
) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line);
        let text: String = text.trim_end().chars().take(LINE).collect();
        let text = secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "***"));
        progress.event(Event::Output(&text));
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.0.len() == LINES {
            tail.0.pop_front();
        }
        tail.0.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_copy_is_one_that_is_read_as_it_was_meant() {
        for address in [
            "postgresql://a_b:p%40w%2F@127.0.0.1:4711/my%20shop?sslmode=disable",
            "postgresql://app@[::1]:5432/shop?sslmode=require",
            "postgresql://app:x@/shop?host=%2Ftmp%2Fa%20b&port=6000",
        ] {
            let copy = Target::parse(address).expect("is one");
            let again = Target::parse(&url(&copy)).expect("is one");
            let facts = |t: &Target| (t.host.clone(), t.port, t.user.clone(), t.password.clone(), t.dbname.clone());
            assert_eq!(facts(&again), facts(&copy), "{}", url(&copy));
        }
    }

    #[test]
    fn nothing_of_the_source_reaches_the_command() {
        let copy = Target::parse("postgresql://app:of-the-copy@127.0.0.1:4711/shop?sslmode=disable").expect("is one");
        let source = Address {
            host: "db.example.com".into(),
            port: 5432,
            user: "app".into(),
            password: Some(Secret::new("s3cret-of-it")),
        };
        let ours = [
            ("PATH", "/usr/bin"),
            ("DATABASE_URL", "postgresql://app:s3cret-of-it@db.example.com/shop"),
            ("DIRECT_URL", "postgres://app:s3cret-of-it@db.example.com:5432/shop?schema=public"),
            ("QUOTED", " \"postgresql://app@db.example.com/shop\""),
            ("ASYNC", "postgresql+asyncpg://app:x@db.example.com/shop"),
            ("MANY", "postgresql://app@other.example.com,db.example.com/shop"),
            ("DSN", "host=db.example.com user=app dbname=shop"),
            ("JDBC", "jdbc:postgresql://db.example.com/shop?user=app"),
            ("JSON", "{\"db\": {\"host\": \"db.example.com\"}}"),
            ("DB_HOST", "db.example.com"),
            ("DB_PORT", "5432"),
            ("DB_USERNAME", "app"),
            ("DB_PASSWORD", "s3cret-of-it"),
            ("REPORTS_URL", "postgresql://r:other@reports.example.com/x"),
            ("PGPASSWORD", "s3cret-of-it"),
            ("PGSERVICE", "production"),
            ("SAVEPOINT_DATABASE_URL", "postgresql://app:s3cret-of-it@db.example.com/shop"),
            ("INPUT_DATABASE-URL", "postgresql://app:s3cret-of-it@db.example.com/shop"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret-of-it"),
            ("NODE_ENV", "production"),
        ];
        let (env, left_out) = environment(ours.map(|(k, v)| (k.to_owned(), v.to_owned())), &source, &copy);
        assert!(env.iter().all(|(_, v)| !v.contains("s3cret") && !v.contains("db.example.com")), "{env:?}");
        let of = |name: &str| env.iter().filter(|(k, _)| k == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        let url = "postgresql://app:of-the-copy@127.0.0.1:4711/shop";
        for name in ["DATABASE_URL", "QUOTED", "DSN", "MANY"] {
            assert_eq!(of(name), [url], "{name}");
        }
        assert_eq!(of("DIRECT_URL"), [url.replace("postgresql", "postgres")]);
        assert_eq!(of("ASYNC"), [url.replace("postgresql", "postgresql+asyncpg")]);
        assert_eq!((of("DB_HOST"), of("DB_PORT"), of("DB_USERNAME")), (vec!["127.0.0.1"], vec!["4711"], vec!["app"]));
        assert_eq!((of("DB_PASSWORD"), of("PGPASSWORD")), (vec!["of-the-copy"], vec!["of-the-copy"]));
        assert_eq!((of("PGPORT"), of("PGSERVICE")), (vec!["4711"], vec![]));
        assert_eq!((of("NODE_ENV"), of("REPORTS_URL").len(), of("PATH")), (vec!["production"], 1, vec!["/usr/bin"]));
        assert_eq!(left_out, ["JDBC", "JSON"]);
    }

    #[test]
    fn a_source_on_this_machine_goes_by_each_of_its_names() {
        let copy = Target::parse("postgresql://app:of-the-copy@127.0.0.1:4711/shop?sslmode=disable").expect("is one");
        let source = Address { host: "127.0.0.1".into(), port: 6543, user: "app".into(), password: None };
        let ours = [
            ("A", "postgresql://app@localhost:6543/shop"),
            ("DB_HOST", "localhost"),
            ("CACHE", "redis://localhost:6379"),
            ("B", "postgresql://app@localhost:5432/other"),
        ];
        let (env, left_out) = environment(ours.map(|(k, v)| (k.to_owned(), v.to_owned())), &source, &copy);
        let of = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str());
        assert_eq!(of("A"), Some("postgresql://app:of-the-copy@127.0.0.1:4711/shop"));
        assert_eq!((of("DB_HOST"), of("CACHE")), (Some("127.0.0.1"), Some("redis://localhost:6379")));
        assert_eq!((of("B"), left_out.len()), (Some("postgresql://app@localhost:5432/other"), 0));
        // A host of a compose file is a word like any other.
        let source = Address { host: "db".into(), ..source };
        assert!(source.is_in("postgres://app@db/shop") && source.is_in("host=db port=1") && source.is_in("a,db:5432"));
        assert!(!source.is_in("/usr/lib/db/bin") && !source.is_in("dbname") && !source.is_in("my-db.example.com"));
    }
}
