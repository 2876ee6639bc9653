//! Telling Slack. A message that does not arrive is a warning, never a failed backup.

use crate::{
    config::{NotifyOn, SlackConfig},
    error::{Error, Kind, Result},
    report::{Check, Status, format::clip, slack as message},
    secret::Secret,
};
use reqwest::{StatusCode, header::RETRY_AFTER, redirect::Policy};
use serde_json::{Value, json};
use std::time::Duration;

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

/// Posts with retries on 429 and 5xx, and on a connection that fails.
async fn post(url: &Secret, body: &Value, wait: Duration) -> Result<()> {
    let mut attempt = 1;
    loop {
        let (error, pause) = match post_once(url, body).await {
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
        if attempt == ATTEMPTS {
            return Err(error.context(format!("{ATTEMPTS} attempts")));
        }
        tokio::time::sleep(pause.unwrap_or(wait * 2_u32.pow(attempt - 1)).min(LONGEST_WAIT)).await;
        attempt += 1;
    }
}

/// One request: status, `Retry-After`, and the beginning of the answer.
async fn post_once(url: &Secret, body: &Value) -> Result<(StatusCode, Option<Duration>, String)> {
    // reqwest's errors print the URL, which is the secret.
    let failed = |e: reqwest::Error| {
        Error::new(Kind::Notify, "the Slack webhook was not reached")
            .because(e.without_url())
            .hint("check slack-webhook-url, and that this machine may reach it")
    };
    // Built for each request: a message is rare. A redirect would carry the report to an unknown place.
    let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(Policy::none()).build().map_err(failed)?;
    let response = client.post(url.expose()).json(body).send().await.map_err(failed)?;
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
