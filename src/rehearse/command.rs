//! Runs the team's command with the copy's address, and nothing that leads to the source.

use crate::{
    error::{Error, Kind, Result},
    postgres::conninfo::Target,
    progress::{Event, Progress},
    report::rehearsal::Ended,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal};
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

/// The command's environment: ours without what is not its own, and with the copy's address in place of the source's, under whatever name
/// that is kept.
pub(super) fn environment(
    ours: impl IntoIterator<Item = (String, String)>,
    (host, port): (&str, u16),
    copy: &Target,
) -> Vec<(String, String)> {
    let url = url(copy);
    let leads_there = |value: &str| {
        value.starts_with("postgres")
            && Target::parse(value).is_ok_and(|t| t.host == host && (t.port == port || t.pooler_flag))
    };
    let mut env: Vec<(String, String)> = ours
        .into_iter()
        .filter(|(name, _)| !OURS.iter().any(|own| name.starts_with(own)) && !LIBPQ.contains(&name.as_str()))
        .map(|(name, value)| if leads_there(&value) { (name, url.clone()) } else { (name, value) })
        .filter(|(name, _)| name != "DATABASE_URL")
        .collect();
    let mut set = |name: &str, value: String| env.push((name.to_owned(), value));
    set("DATABASE_URL", url);
    for (name, value) in copy.child_env() {
        set(&name, value.to_string_lossy().into_owned());
    }
    set("SAVEPOINT_REHEARSAL", "1".into());
    env
}

/// The copy's address as every driver reads it.
pub(super) fn url(copy: &Target) -> String {
    let word = |text: &str| utf8_percent_encode(text, WORD).to_string();
    let password = copy.password.as_ref().map(|secret| format!(":{}", word(secret.expose()))).unwrap_or_default();
    let mode = match copy.sslmode.name() {
        "disable" => String::new(),
        mode => format!("?sslmode={mode}"),
    };
    format!("postgresql://{}{password}@{}:{}/{}{mode}", word(&copy.user), copy.host, copy.port, word(&copy.dbname))
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
/// `secret`: never shown.
pub(super) async fn run(
    line: &str,
    folder: &Path,
    env: Vec<(String, String)>,
    limit: Duration,
    secret: &str,
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
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let tail = Arc::new(Mutex::new(Tail::default()));
    let readers = futures_util::future::join(
        listen(child.stdout.take(), tail.clone(), secret.to_owned(), progress.clone()),
        listen(child.stderr.take(), tail.clone(), secret.to_owned(), progress.clone()),
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
    secret: String,
    progress: Arc<dyn Progress>,
) {
    let Some(from) = from else { return };
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line);
        let text: String = text.trim_end().chars().take(LINE).collect();
        let text = text.replace(&secret, "***");
        progress.event(Event::Output(&text));
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.0.len() == LINES {
            tail.0.pop_front();
        }
        tail.0.push_back(text);
    }
}

/// A process group that is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            let _ = rustix::process::kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_source_reaches_the_command() {
        let copy = Target::parse("postgresql://app:of-the-copy@127.0.0.1:4711/shop?sslmode=disable").unwrap();
        let ours = [
            ("PATH", "/usr/bin"),
            ("DATABASE_URL", "postgresql://app:s3cret@db.example.com/shop"),
            ("DIRECT_URL", "postgres://app:s3cret@db.example.com:5432/shop?schema=public"),
            ("REPORTS_URL", "postgresql://r:other@reports.example.com/x"),
            ("PGPASSWORD", "s3cret"),
            ("PGSERVICE", "production"),
            ("SAVEPOINT_DATABASE_URL", "postgresql://app:s3cret@db.example.com/shop"),
            ("INPUT_DATABASE-URL", "postgresql://app:s3cret@db.example.com/shop"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("NODE_ENV", "production"),
        ];
        let env = environment(ours.map(|(k, v)| (k.to_owned(), v.to_owned())), ("db.example.com", 5432), &copy);
        assert!(env.iter().all(|(_, value)| !value.contains("s3cret")), "{env:?}");
        let of = |name: &str| env.iter().filter(|(k, _)| k == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>();
        let url = "postgresql://app:of-the-copy@127.0.0.1:4711/shop";
        assert_eq!((of("DATABASE_URL"), of("DIRECT_URL")), (vec![url], vec![url]));
        assert_eq!((of("PGPORT"), of("PGPASSWORD"), of("PGSERVICE")), (vec!["4711"], vec!["of-the-copy"], vec![]));
        assert_eq!((of("NODE_ENV"), of("REPORTS_URL").len(), of("PATH")), (vec!["production"], 1, vec!["/usr/bin"]));
    }
}
