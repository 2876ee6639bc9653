//! Telling Slack, and the monitor that waits for a scheduled run. What does not arrive is a warning, never a failed run.

use crate::{
    error::{Error, Kind, Result},
    report::{Check, Status, format::clip, slack as message},
    secret::Secret,
};
use reqwest::{Client, RequestBuilder, StatusCode, Url, header::RETRY_AFTER, redirect::Policy};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{task::JoinHandle, time::timeout};
use uuid::Uuid;

/// When Slack is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NotifyOn {
    /// Each run.
    #[default]
    Always,
    /// Only runs that failed.
    Failure,
    /// Only runs that did not fail.
    Success,
}

/// Slack, when it is to be told.
#[derive(Clone, Debug)]
pub struct SlackConfig {
    /// The incoming webhook; the whole URL is a secret.
    pub webhook_url: Secret,
    /// Which runs are told.
    pub notify_on: NotifyOn,
}

/// Who is told of a run.
#[derive(Clone, Debug, Default)]
pub struct NotifyConfig {
    /// Slack, when it is to be told.
    pub slack: Option<SlackConfig>,
    /// An address that is asked at start, success and failure; the whole URL is a secret.
    pub heartbeat: Option<Secret>,
}

/// One request's time, connection included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that a `Retry-After` is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Requests per message.
const ATTEMPTS: u32 = 3;
/// The first wait after a server's error; doubled each time.
const WAIT: Duration = Duration::from_secs(1);

/// Sends a message, if this kind of run is to be told. True when it was sent.
///
/// # Errors
/// [`Kind::Notify`] when Slack did not take it after three attempts; never holds the webhook's URL.
pub async fn slack(config: &SlackConfig, failed: bool, message: &Value) -> Result<bool> {
    let wanted = match config.notify_on {
        NotifyOn::Always => true,
        NotifyOn::Failure => failed,
        NotifyOn::Success => !failed,
    };
    if wanted {
        post(&config.webhook_url, message, WAIT).await?;
    }
    Ok(wanted)
}

/// A request to a monitor; it works beside the run, and must not outlast it.
const PING: Duration = Duration::from_secs(5);
/// All that the end of a run may wait for the monitor.
const LAST_PING: Duration = Duration::from_secs(10);
/// What is left of that for a first ping that is still on its way.
const LATE_START: Duration = Duration::from_secs(1);

/// What a monitor of scheduled jobs is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A run begins.
    Start,
    /// It ended well.
    Success,
    /// It did not.
    Failure,
}

/// A run as a monitor sees it: `POST <url>/start`, then `POST <url>` or `POST <url>/fail`, as healthchecks.io and its kin take them
/// (<https://healthchecks.io/docs/http_api/>). A run id (`rid`) tells concurrent runs apart; a query of the URL's own is kept.
#[derive(Debug)]
pub struct Heartbeat {
    url: Secret,
    run: Uuid,
    start: Option<JoinHandle<Result<()>>>,
}

impl Heartbeat {
    /// For a run that never began, because its options are wrong.
    pub fn silent(url: &Secret) -> Self {
        Heartbeat { url: url.clone(), run: Uuid::new_v4(), start: None }
    }

    /// Tells of the start, beside the work.
    pub fn begin(url: &Secret) -> Self {
        let heartbeat = Self::silent(url);
        let (url, run) = (heartbeat.url.clone(), heartbeat.run);
        let start = tokio::spawn(async move { ping(&url, run, Signal::Start, String::new(), WAIT).await });
        Heartbeat { start: Some(start), ..heartbeat }
    }

    /// Tells of the end, `text` with it; returns within ten seconds.
    ///
    /// # Errors
    /// [`Kind::Notify`] when the monitor took the start or the end not; never holds the URL.
    pub async fn end(self, failed: bool, text: String) -> Result<()> {
        let signal = if failed { Signal::Failure } else { Signal::Success };
        // A start that arrived behind its end would look like a run that hangs.
        let started = match self.start {
            None => Ok(()),
            Some(mut start) => match timeout(LATE_START, &mut start).await {
                Ok(joined) => joined.unwrap_or(Ok(())),
                Err(_) => {
                    start.abort();
                    Ok(())
                }
            },
        };
        let slow = |_| Error::new(Kind::Notify, "the heartbeat's monitor did not answer in time").hint(REACH);
        timeout(LAST_PING - LATE_START, ping(&self.url, self.run, signal, text, WAIT)).await.map_err(slow)??;
        started
    }
}

const REACH: &str = "check heartbeat-url, and that this machine may reach it";

async fn ping(url: &Secret, run: Uuid, signal: Signal, text: String, wait: Duration) -> Result<()> {
    let url = ping_url(url, run, signal)?;
    let attempt = || async {
        let request = |client: Client| client.post(url.clone()).header("content-type", "text/plain").body(text.clone());
        let (status, pause, body) = send("the heartbeat's monitor was not reached", REACH, PING, request).await?;
        // healthchecks.io may answer 200 where there is no such check. And not every monitor knows a start.
        let unknown = matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        let status = match signal {
            Signal::Start if unknown => StatusCode::OK,
            Signal::Success | Signal::Failure if status.is_success() && body.contains("not found") => {
                StatusCode::NOT_FOUND
            }
            _ => status,
        };
        Ok((status, pause, body))
    };
    retried(attempt, wait, |status, body| {
        Error::new(Kind::Notify, format!("the heartbeat's monitor refused it: {status}, {body:?}"))
            .hint("check heartbeat-url: it is the check's ping URL, without /start or /fail")
    })
    .await
}

/// The address of one signal.
fn ping_url(url: &Secret, run: Uuid, signal: Signal) -> Result<Url> {
    let wrong = || Error::new(Kind::Notify, "heartbeat-url is not a URL (its value is not shown)").hint(REACH);
    let mut url = Url::parse(url.expose()).map_err(|_| wrong())?;
    url.set_fragment(None);
    let word = match signal {
        Signal::Start => Some("start"),
        Signal::Success => None,
        Signal::Failure => Some("fail"),
    };
    url.path_segments_mut().map_err(|()| wrong())?.pop_if_empty().extend(word);
    if !url.query_pairs().any(|(name, _)| name == "rid") {
        url.query_pairs_mut().append_pair("rid", &run.to_string());
    }
    Ok(url)
}

/// Whether messages would arrive: with `test_message` by posting one about `database`, else by an empty message, which
/// Slack refuses with 400 where the webhook exists, and with 403 or 404 where it does not.
pub async fn check(config: &SlackConfig, test_message: bool, database: &str) -> Check {
    let answer = if test_message {
        post(&config.webhook_url, &message::test_message(database), WAIT).await.map(|()| "message posted")
    } else {
        match post_once(&config.webhook_url, &json!({})).await {
            Ok((status, ..)) if status == StatusCode::BAD_REQUEST || status.is_success() => Ok("webhook answers"),
            Ok((status, _, body)) => Err(refused(status, &body)),
            Err(e) => Err(e),
        }
    };
    let (status, detail, hint) = match answer {
        Ok(detail) => (Status::Ok, detail.to_owned(), None),
        // A backup works without Slack.
        Err(e) => (Status::Warning, e.one_line(), e.hint_text().map(str::to_owned)),
    };
    Check { name: "slack".into(), status, detail, hint }
}

async fn post(url: &Secret, body: &Value, wait: Duration) -> Result<()> {
    retried(|| post_once(url, body), wait, refused).await
}

/// Status, `Retry-After`, and the beginning of the answer.
type Answer = (StatusCode, Option<Duration>, String);

/// Asks again on 429 and 5xx, and on a connection that fails.
async fn retried<F: Future<Output = Result<Answer>>>(
    attempt: impl Fn() -> F,
    wait: Duration,
    refused: impl Fn(StatusCode, &str) -> Error,
) -> Result<()> {
    let mut tried = 1;
    loop {
        let (error, pause) = match attempt().await {
            Ok((status, ..)) if status.is_success() => return Ok(()),
            Ok((status, retry_after, body)) => {
                let error = refused(status, &body);
                if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
                    return Err(error);
                }
                (error, retry_after)
            }
            Err(error) => (error, None),
        };
        if tried == ATTEMPTS {
            return Err(error.context(format!("{ATTEMPTS} attempts")));
        }
        tokio::time::sleep(pause.unwrap_or(wait * 2_u32.pow(tried - 1)).min(LONGEST_WAIT)).await;
        tried += 1;
    }
}

async fn post_once(url: &Secret, body: &Value) -> Result<Answer> {
    let hint = "check slack-webhook-url, and that this machine may reach it";
    send("the Slack webhook was not reached", hint, TIMEOUT, |client| client.post(url.expose()).json(body)).await
}

/// One request.
async fn send(
    failure: &str,
    hint: &str,
    limit: Duration,
    request: impl FnOnce(Client) -> RequestBuilder,
) -> Result<Answer> {
    // reqwest's errors print the URL, which is the secret.
    let failed = |e: reqwest::Error| Error::new(Kind::Notify, failure).because(e.without_url()).hint(hint);
    // Built for each request: a message is rare. A redirect would carry the report to an unknown place.
    let client = Client::builder().timeout(limit).redirect(Policy::none()).build().map_err(failed)?;
    let response = request(client).send().await.map_err(failed)?;
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let text = response.text().await.unwrap_or_default();
    Ok((status, seconds.map(Duration::from_secs), clip(&text, 100)))
}

fn refused(status: StatusCode, body: &str) -> Error {
    let error = Error::new(Kind::Notify, format!("Slack refused the message: {status}, {body:?}"));
    match status {
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
            error.hint("the webhook was revoked or its channel is gone: make a new one and set slack-webhook-url")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A web server on the loopback that gives these answers in turn, and keeps the bodies that it got.
    async fn server(answers: &[&str]) -> (SlackConfig, Arc<Mutex<Vec<Value>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let url = format!("http://{}/services/T0/B0/s3cret", listener.local_addr().expect("is bound"));
        let got = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut answers) = (got.clone(), answers.iter().map(|a| a.to_string()).collect::<VecDeque<_>>());
        tokio::spawn(async move {
            while let Some(answer) = answers.pop_front() {
                let (mut socket, _) = listener.accept().await.expect("accepts");
                let mut request = Vec::new();
                let body = loop {
                    let mut buffer = [0; 4096];
                    let n = socket.read(&mut buffer).await.expect("reads");
                    request.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                    let length: usize = head
                        .lines()
                        .find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(str::to_owned))
                        .and_then(|l| l.parse().ok())
                        .expect("has a length");
                    if body.len() >= length {
                        break body.to_owned();
                    }
                };
                seen.lock().expect("no panic").push(serde_json::from_str(&body).expect("is JSON"));
                let (head, text) = answer.split_once('|').expect("has a body");
                let length = text.len();
                let reply = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
                socket.write_all(reply.as_bytes()).await.expect("writes");
            }
        });
        (SlackConfig { webhook_url: Secret::new(url), notify_on: NotifyOn::Always }, got)
    }

    const SHORT: Duration = Duration::from_millis(5);

    #[tokio::test]
    async fn a_report_arrives() {
        let (config, got) = server(&["200 OK|ok"]).await;
        assert!(slack(&config, false, &message::message(&fixture::proven())).await.expect("is taken"));
        assert_eq!(*got.lock().expect("no panic"), [message::message(&fixture::proven())]);
    }

    #[tokio::test]
    async fn busy_and_broken_servers_are_asked_again() {
        let (config, got) =
            server(&["429 Too Many Requests\r\nretry-after: 0|", "503 Service Unavailable|", "200 OK|ok"]).await;
        post(&config.webhook_url, &json!({"text": "x"}), SHORT).await.expect("is taken at last");
        assert_eq!(got.lock().expect("no panic").len(), 3);
    }

    #[tokio::test]
    async fn three_attempts_are_all_and_a_refusal_is_final() {
        let (config, got) = server(&["500 A|", "500 B|", "500 C|", "200 OK|ok"]).await;
        let error = post(&config.webhook_url, &json!({}), SHORT).await.expect_err("gives up");
        assert_eq!((error.kind(), got.lock().expect("no panic").len()), (Kind::Notify, 3));

        let (config, got) = server(&["404 Not Found|no_service", "200 OK|ok"]).await;
        let error = slack(&config, false, &message::message(&fixture::proven())).await.expect_err("is refused");
        assert_eq!(error.to_string(), "Slack refused the message: 404 Not Found, \"no_service\"");
        assert!(error.hint_text().is_some_and(|h| h.contains("slack-webhook-url")));
        assert_eq!(got.lock().expect("no panic").len(), 1);
    }

    #[tokio::test]
    async fn errors_never_hold_the_url() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("is bound");
        drop(listener);
        for url in [format!("http://{address}/services/s3cret"), "http://[bad/s3cret".to_owned()] {
            let error = post(&Secret::new(url), &json!({}), SHORT).await.expect_err("is not reached");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
            assert!(!format!("{:?}", std::error::Error::source(&error)).contains("s3cret"));
        }
    }

    #[test]
    fn a_signal_stands_in_front_of_the_query() {
        let run = Uuid::nil();
        let said = |url: &str, signal| ping_url(&Secret::new(url), run, signal).map(|url| url.to_string()).ok();
        let id = "rid=00000000-0000-0000-0000-000000000000";
        let host = "https://hc-ping.com";
        for (url, signal, expected) in [
            ("/uuid", Signal::Start, format!("/uuid/start?{id}")),
            ("/uuid/", Signal::Failure, format!("/uuid/fail?{id}")),
            ("/uuid", Signal::Success, format!("/uuid?{id}")),
            ("/key/slug?create=1&a=%2F#part", Signal::Start, format!("/key/slug/start?create=1&a=%2F&{id}")),
            ("/uuid?rid=mine", Signal::Success, "/uuid?rid=mine".to_owned()),
        ] {
            assert_eq!(said(&format!("{host}{url}"), signal), Some(format!("{host}{expected}")));
        }
        assert_eq!(said("https://", Signal::Start), None);
        assert_eq!(said("mailto:someone", Signal::Start), None);
    }

    #[tokio::test]
    async fn only_wanted_runs_are_told() {
        for (notify_on, report, expected) in [
            (NotifyOn::Failure, fixture::proven(), false),
            (NotifyOn::Failure, fixture::proof_failed(), true),
            (NotifyOn::Success, fixture::stored(), true),
            (NotifyOn::Success, fixture::failed(), false),
        ] {
            let (mut config, got) = server(&["200 OK|ok"]).await;
            config.notify_on = notify_on;
            assert_eq!(
                slack(&config, report.exit_code() != 0, &message::message(&report)).await.expect("no error"),
                expected
            );
            assert_eq!(got.lock().expect("no panic").len(), usize::from(expected));
        }
    }

    #[tokio::test]
    async fn a_check_posts_only_when_asked() {
        let (config, got) = server(&["400 Bad Request|no_text", "403 Forbidden|invalid_token", "200 OK|ok"]).await;
        assert_eq!(check(&config, false, "app").await.status, Status::Ok);
        let revoked = check(&config, false, "app").await;
        assert_eq!(revoked.status, Status::Warning);
        assert!(revoked.hint.is_some());
        assert_eq!(check(&config, true, "app").await.detail, "message posted");
        let got = got.lock().expect("no panic");
        assert_eq!(got[..2], [json!({}), json!({})]);
        assert!(got[2]["text"].as_str().is_some_and(|t| t.contains("app")));
    }
}
