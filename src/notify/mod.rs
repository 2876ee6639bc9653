//! Telling people and their tools of runs: channels, equals, each a file here and a line in `CHANNELS`. What does not arrive is a warning,
//! never a failed run.

mod channel;
pub mod heartbeat;
mod http;
mod slack;

pub use channel::{Channel, Given, NotifyOn, Told};

use crate::{
    error::{Error, Kind, Result},
    report::Check,
};
use futures_util::future::join_all;
use std::time::Duration;

/// Makes a channel of its own options; `None` without them.
type Open = fn(&Given<'_>) -> Result<Option<Box<dyn Channel>>>;

/// Every channel, in the order in which their warnings stand.
const CHANNELS: &[Open] = &[slack::Slack::open, heartbeat::Heartbeat::open];

/// How long an interrupted run may still talk to a channel: a runner kills ten seconds after its first signal.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// Those who are told of a run.
#[derive(Debug, Default)]
pub struct Channels(Vec<Box<dyn Channel>>);

impl Channels {
    /// Those that the options name.
    ///
    /// # Errors
    /// [`Kind::Usage`], naming the option and the cure, never a secret.
    pub fn of(given: &Given<'_>) -> Result<Channels> {
        let opened: Result<Vec<_>> = CHANNELS.iter().map(|open| open(given)).collect();
        Ok(Channels(opened?.into_iter().flatten().collect()))
    }

    /// Who they are.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|channel| channel.name()).collect()
    }

    /// Whether nobody is told.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A run begins that does what it says.
    pub fn begin(&mut self) {
        self.0.iter_mut().for_each(|channel| channel.begin());
    }

    /// It has ended: tells all at the same time. Returns a line for each that was not reached. `interrupted`: the run was broken off by a
    /// signal, and little time is left.
    pub async fn end(&mut self, told: &Told<'_>, interrupted: bool) -> Vec<String> {
        let telling = self.0.iter_mut().map(|channel| async move {
            let name = channel.name();
            let late = |_| Error::new(Kind::Notify, format!("{name} did not answer in time after the interrupt"));
            let told = match interrupted {
                false => channel.end(told).await,
                true => tokio::time::timeout(LAST_WORDS, channel.end(told)).await.map_err(late).flatten(),
            };
            told.err().map(|e| e.one_line())
        });
        join_all(telling).await.into_iter().flatten().collect()
    }

    /// For `savepoint check`: whether messages about `database` would arrive; with `post` by posting one.
    pub async fn check(&self, post: bool, database: &str) -> Vec<Check> {
        join_all(self.0.iter().map(|channel| channel.check(post, database))).await.into_iter().flatten().collect()
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

    /// First lines and bodies of the requests that a server got.
    pub(super) type Got = Arc<Mutex<Vec<(String, String)>>>;

    pub(super) fn told<'a>(report: &'a Report, context: &'a RunContext) -> Told<'a> {
        Told { report, context, dry_run: false }
    }

    async fn request(socket: &mut TcpStream) -> (String, String) {
        let mut request = Vec::new();
        loop {
            let mut buffer = [0; 4096];
            let n = socket.read(&mut buffer).await.expect("reads");
            request.extend_from_slice(&buffer[..n]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok();
            if body.len() >= head.lines().find_map(length).unwrap_or(0) {
                return (head.lines().next().unwrap_or_default().to_owned(), body.to_owned());
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

    /// The options of the channels that are told over HTTP, each with the address of one; a new one is a line.
    const BY_HTTP: &[&str] = &["slack-webhook-url", "heartbeat-url"];

    async fn end(option: &'static str, url: Secret, interrupted: bool) -> Vec<String> {
        let secrets = [(option, url)];
        let mut channels =
            Channels::of(&Given { secrets: &secrets, notify_on: NotifyOn::Always, roots: None }).expect("is valid");
        assert_eq!(channels.0.len(), 1, "{option} opens one channel");
        channels.end(&told(&fixture::proof_failed().into(), &RunContext::default()), interrupted).await
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
        for option in BY_HTTP {
            for (answers, requests, taken) in cases {
                let (url, got) = server(answers).await;
                let warnings = end(option, url, false).await;
                assert_eq!(
                    (warnings.is_empty(), got.lock().expect("no panic").len()),
                    (*taken, *requests),
                    "{option} {answers:?}"
                );
                assert!(!warnings.iter().any(|w| w.contains("s3cret")), "{warnings:?}");
                let got = got.lock().expect("no panic");
                assert!(
                    got.iter().all(|(_, body)| body.contains("proof failed")),
                    "{option} says how it ended: {got:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_channel_that_hangs_does_not_hold_up_the_others_or_the_end() {
        for option in BY_HTTP {
            let (url, _) = server(&["hang", "hang", "hang"]).await;
            let begun = Instant::now();
            let warnings = end(option, url, true).await;
            assert!(warnings[0].ends_with("did not answer in time after the interrupt"), "{warnings:?}");
            assert!(begun.elapsed() < LAST_WORDS + Duration::from_secs(2));
        }
    }

    #[tokio::test]
    async fn errors_never_hold_the_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        drop(listener);
        for option in BY_HTTP {
            let warnings = end(option, Secret::new(format!("http://{address}/services/s3cret")), false).await;
            assert!(!warnings[0].contains("s3cret"), "{warnings:?}");
            for wrong in ["hooks.example.com/s3cret", "http://a b/s3cret", "http://[bad/s3cret"] {
                let secrets = [(*option, Secret::new(wrong))];
                let said = match Channels::of(&Given { secrets: &secrets, notify_on: NotifyOn::Always, roots: None }) {
                    Ok(_) => end(option, Secret::new(wrong), false).await.join("\n"),
                    Err(error) => {
                        assert!(error.kind() == Kind::Usage && error.message().contains(option), "{error:?}");
                        format!("{error:?}")
                    }
                };
                assert!(!said.is_empty() && !said.contains("s3cret"), "{said}");
            }
        }
    }
}
