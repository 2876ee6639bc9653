//! Telling people and their tools of runs: channels, equals, each a file here and a line in `CHANNELS`. What does not arrive is a warning,
//! never a failed run.

mod channel;
mod discord;
pub mod heartbeat;
mod hook;
mod http;
mod mail;
mod ntfy;
mod pull_request;
mod slack;
mod teams;
mod telegram;
mod webhook;

pub use channel::{Channel, Given, NotifyOn, PullRequest, Told};
pub use pull_request::ReportTo;

use crate::{
    error::{Error, Kind, Result},
    report::Check,
};
use futures_util::future::join_all;
use std::time::Duration;

/// Makes a channel of its own options; `None` without them.
type Open = fn(&Given<'_>) -> Result<Option<Box<dyn Channel>>>;

/// Every channel, in the order in which their warnings stand.
const CHANNELS: &[Open] = &[
    slack::Slack::open,
    mail::Mail::open,
    discord::open,
    teams::open,
    telegram::open,
    ntfy::open,
    webhook::Webhook::open,
    pull_request::Github::open,
    heartbeat::Heartbeat::open,
];

/// How long an interrupted run may still talk to a channel: a runner kills ten seconds after its first signal.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// Those who are told of a run.
#[derive(Debug, Default)]
pub struct Channels {
    all: Vec<Box<dyn Channel>>,
    notify_on: NotifyOn,
}

impl Channels {
    /// Those that the options name; `notify_on`: which runs they are told of.
    ///
    /// # Errors
    /// [`Kind::Usage`], naming the option and the cure, never a secret.
    pub fn of(given: &Given<'_>, notify_on: NotifyOn) -> Result<Channels> {
        let opened: Result<Vec<_>> = CHANNELS.iter().map(|open| open(given)).collect();
        Ok(Channels { all: opened?.into_iter().flatten().collect(), notify_on })
    }

    /// Who they are.
    pub fn names(&self) -> Vec<&'static str> {
        self.all.iter().map(|channel| channel.name()).collect()
    }

    /// Whether somebody is told who wants to know how a run ended in the light of the one before.
    pub fn remember(&self) -> bool {
        self.all.iter().any(|channel| !channel.of_every_run())
    }

    /// Whether nobody is told.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A run begins that does what it says.
    pub fn begin(&mut self) {
        self.all.iter_mut().for_each(|channel| channel.begin());
    }

    /// It has ended: tells all at the same time. Returns a line for each that was not reached. `interrupted`: the run was broken off by a
    /// signal, and little time is left.
    pub async fn end(&mut self, told: &Told<'_>, interrupted: bool) -> Vec<String> {
        let wanted = self.notify_on.wants(told.failed(), told.failing());
        let hear = self.all.iter_mut().filter(|channel| wanted || channel.of_every_run());
        let telling = hear.map(|channel| async move {
            let name = channel.name();
            let late = |_| Error::new(Kind::Notify, format!("{name} did not answer in time after the interrupt"));
            let told = match interrupted {
                false => channel.end(told).await,
                true => tokio::time::timeout(LAST_WORDS, channel.end(told)).await.map_err(late).flatten(),
            };
            told.err().map(|e| match e.hint_text() {
                Some(hint) => format!("{} ({hint})", e.one_line()),
                None => e.one_line(),
            })
        });
        join_all(telling).await.into_iter().flatten().collect()
    }

    /// For `savepoint check`: whether messages about `database` would arrive; with `post` by posting one.
    pub async fn check(&self, post: bool, database: &str) -> Vec<Check> {
        join_all(self.all.iter().map(|channel| channel.check(post, database))).await.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::{Report, fixture},
        secret::Secret,
        vault::RunContext,
    };
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
        time::Instant,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    /// A request that a server got.
    #[derive(Debug)]
    pub(super) struct Request {
        head: String,
        pub body: String,
    }

    impl Request {
        /// Its first line.
        pub fn line(&self) -> &str {
            self.head.lines().next().unwrap_or_default()
        }

        /// The value of a header.
        pub fn header(&self, name: &str) -> Option<&str> {
            let of = |line: &'_ str| line.split_once(": ").filter(|(n, _)| n.eq_ignore_ascii_case(name)).is_some();
            self.head.lines().find(|line| of(line)).and_then(|line| Some(line.split_once(": ")?.1))
        }
    }

    /// What a server got.
    pub(super) type Got = Arc<Mutex<Vec<Request>>>;

    pub(super) fn told<'a>(report: &'a Report, context: &'a RunContext) -> Told<'a> {
        Told { report, context, dry_run: false }
    }

    async fn request(socket: &mut TcpStream) -> Request {
        let mut request = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let n = socket.read(&mut buffer).await.expect("reads");
            request.extend_from_slice(&buffer[..n]);
            let Some(end) = request.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&request[..end]).into_owned();
            let body = &request[end + 4..];
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0) {
                return Request { body: String::from_utf8_lossy(body).into_owned(), head };
            }
        }
    }

    /// A web server on the loopback that gives these answers (`status and headers|body`) in turn, and keeps what it got; `hang` takes the
    /// request and never answers. Its address has a secret in it.
    pub(super) async fn server(answers: &[&str]) -> (Secret, Got) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/services/T0/B0/s3cret", listener.local_addr().expect("is bound"));
        let got = Got::default();
        let (seen, mut answers) = (got.clone(), answers.iter().map(|a| a.to_string()).collect::<VecDeque<_>>());
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(answer) = answers.pop_front() {
                let (mut socket, _) = listener.accept().await.expect("accepts");
                let request = request(&mut socket).await;
                seen.lock().expect("no panic").push(request);
                if answer == "hang" {
                    held.push(socket);
                    continue;
                }
                let (head, text) = answer.split_once('|').expect("has a body");
                let length = text.len();
                let reply = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
                socket.write_all(reply.as_bytes()).await.expect("writes");
            }
            // Open until the test ends: a hanging server does not hang up.
            std::future::pending::<()>().await;
        });
        (Secret::new(url), got)
    }

    /// Options of one channel, by the address of its server.
    type Options = Vec<(&'static str, Secret)>;
    type Of = fn(Secret) -> Options;

    /// The channels that are told over HTTP; a new one is a line.
    const BY_HTTP: &[(&str, Of)] = &[
        ("slack-webhook-url", |url| vec![("slack-webhook-url", url)]),
        ("discord-webhook-url", |url| vec![("discord-webhook-url", url)]),
        ("teams-webhook-url", |url| vec![("teams-webhook-url", url)]),
        ("telegram-api-url", |url| {
            let token = Secret::new("1234:s3cret");
            vec![("telegram-api-url", url), ("telegram-bot-token", token), ("telegram-chat-id", Secret::new("-100"))]
        }),
        ("ntfy-url", |url| vec![("ntfy-url", url), ("ntfy-token", Secret::new("tk_s3cret"))]),
        ("webhook-url", |url| vec![("webhook-url", url), ("webhook-secret", Secret::new("s3cret"))]),
        ("heartbeat-url", |url| vec![("heartbeat-url", url)]),
    ];

    fn channels(options: &[(&'static str, Secret)], notify_on: NotifyOn) -> Result<Channels> {
        Channels::of(&Given { secrets: options, roots: None, pull_request: None }, notify_on)
    }

    /// The one channel that these options open.
    pub(super) fn open(options: &[(&'static str, Secret)]) -> Box<dyn Channel> {
        let mut all = channels(options, NotifyOn::Always).expect("is valid").all;
        assert_eq!(all.len(), 1, "{options:?} open one channel");
        all.remove(0)
    }

    async fn end(options: &Options, interrupted: bool) -> Vec<String> {
        let mut channels = channels(options, NotifyOn::Always).expect("is valid");
        assert_eq!(channels.all.len(), 1, "{options:?} open one channel");
        channels.end(&told(&fixture::proof_failed().into(), &RunContext::default()), interrupted).await
    }

    #[tokio::test]
    async fn only_wanted_runs_are_told() {
        for (option, with) in BY_HTTP {
            for (notify_on, report, expected) in [
                (NotifyOn::Failure, fixture::proven(), 0),
                (NotifyOn::Failure, fixture::proof_failed(), 1),
                (NotifyOn::Success, fixture::stored(), 1),
                (NotifyOn::Success, fixture::failed(), 0),
            ] {
                let (url, got) = server(&["200 OK|ok"]).await;
                let mut channels = channels(&with(url), notify_on).expect("is valid");
                let missed = channels.end(&told(&report.into(), &Default::default()), false).await;
                let expected = if *option == "heartbeat-url" { 1 } else { expected };
                assert_eq!(
                    (missed.len(), got.lock().expect("no panic").len()),
                    (0, expected),
                    "{option} {notify_on:?}"
                );
            }
        }
    }

    /// The contract: what every channel does with the answers of its server.
    #[tokio::test]
    async fn every_channel_keeps_the_contract() {
        let retry = "429 Too Many Requests\r\nretry-after: 0|";
        let moved = "302 Found\r\nlocation: http://127.0.0.1:9/|";
        let cases: &[(&[&str], usize, bool)] = &[
            (&["200 OK|ok"], 1, true),
            (&[retry, "503 Service Unavailable|", "200 OK|ok"], 3, true),
            (&["500 A|", "500 B|", "500 C|", "200 OK|ok"], 3, false),
            (&["404 Not Found|no_service", "200 OK|ok"], 1, false),
            // A redirect would carry the report to an unknown place.
            (&[moved, "200 OK|ok"], 1, false),
        ];
        for (option, with) in BY_HTTP {
            for (answers, requests, taken) in cases {
                let (url, got) = server(answers).await;
                let warnings = end(&with(url), false).await;
                assert_eq!(
                    (warnings.is_empty(), got.lock().expect("no panic").len()),
                    (*taken, *requests),
                    "{option} {answers:?}"
                );
                assert!(!warnings.iter().any(|w| w.contains("s3cret")), "{warnings:?}");
                let got = got.lock().expect("no panic");
                assert!(
                    got.iter().all(|request| request.body.replace('-', " ").contains("proof failed")),
                    "{option} says how it ended: {got:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_channel_that_hangs_does_not_hold_up_the_others_or_the_end() {
        for (_, with) in BY_HTTP {
            let (url, _) = server(&["hang", "hang", "hang"]).await;
            let begun = Instant::now();
            let warnings = end(&with(url), true).await;
            assert!(warnings[0].ends_with("did not answer in time after the interrupt"), "{warnings:?}");
            assert!(begun.elapsed() < LAST_WORDS + Duration::from_secs(2));
        }
    }

    #[tokio::test]
    async fn errors_never_hold_the_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        drop(listener);
        for (option, with) in BY_HTTP {
            let warnings = end(&with(Secret::new(format!("http://{address}/services/s3cret"))), false).await;
            assert!(!warnings[0].contains("s3cret"), "{warnings:?}");
            for wrong in ["hooks.example.com/s3cret", "http://a b/s3cret", "http://[bad/s3cret"] {
                let error = channels(&with(Secret::new(wrong)), NotifyOn::Always).expect_err("is refused");
                assert!(error.kind() == Kind::Usage && error.message().contains(option), "{error:?}");
                assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
            }
        }
    }
}
