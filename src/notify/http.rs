//! Requests to those who are told, asked again where that may help.

use super::channel::cure;
use crate::{
    error::{Error, Kind, Result},
    report::format::clip,
    roots::Roots,
};
use reqwest::{Certificate, Client, RequestBuilder, StatusCode, header::RETRY_AFTER, redirect::Policy};
use std::time::Duration;

/// The longest that a `Retry-After` is obeyed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Requests per message.
const ATTEMPTS: u32 = 3;
/// The first wait after a server's error; doubled each time.
const WAIT: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(1) };

/// Status, `Retry-After`, and the answer.
pub(super) type Answer = (StatusCode, Option<Duration>, String);

/// Asks again on 429 and 5xx, and on a connection that fails. Returns the answer.
pub(super) async fn retried<F: Future<Output = Result<Answer>>>(
    attempt: impl Fn() -> F,
    refused: impl Fn(StatusCode, &str) -> Error,
) -> Result<Answer> {
    let mut tried = 1;
    loop {
        let (error, pause) = match attempt().await {
            Ok(answer) if answer.0.is_success() => return Ok(answer),
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
        tokio::time::sleep(pause.unwrap_or(WAIT * 2_u32.pow(tried - 1)).min(LONGEST_WAIT)).await;
        tried += 1;
    }
}

/// As [`ask`], of whose answer only the beginning is looked at.
pub(super) async fn send(
    failure: &str,
    hint: &str,
    limit: Duration,
    roots: Option<&Roots>,
    request: impl FnOnce(Client) -> RequestBuilder,
) -> Result<Answer> {
    let (status, wait, text) = ask(failure, hint, limit, roots, request).await?;
    Ok((status, wait, clip(&text, 100)))
}

/// One request, which takes at most `limit`, connection included.
pub(super) async fn ask(
    failure: &str,
    hint: &str,
    limit: Duration,
    roots: Option<&Roots>,
    request: impl FnOnce(Client) -> RequestBuilder,
) -> Result<Answer> {
    // reqwest's errors print the URL, which is the secret.
    let failed = |e: reqwest::Error| {
        let error = Error::new(Kind::Notify, failure).because(e.without_url());
        let hint = cure(&error, hint);
        error.hint(hint)
    };
    // Built for each request: a message is rare. A redirect would carry the report to an unknown place.
    let mut client = Client::builder().timeout(limit).redirect(Policy::none());
    if let Some(roots) = roots {
        let more: std::result::Result<Vec<_>, _> =
            roots.pems().map(|pem| Certificate::from_pem(pem.as_bytes())).collect();
        client = client.tls_certs_merge(more.map_err(failed)?);
    }
    let client = client.build().map_err(failed)?;
    let response = request(client).send().await.map_err(failed)?;
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let text = response.text().await.unwrap_or_default();
    Ok((status, seconds.map(Duration::from_secs), text))
}

/// Whether a text may be the address of a web server.
pub(super) fn is_web_address(text: &str) -> bool {
    let web = text.starts_with("https://") || text.starts_with("http://");
    web && !text.contains(char::is_whitespace)
}
