//! A monitor that waits for scheduled runs: healthchecks.io and its kin.

use super::{
    channel::{Channel, Given, Told},
    http::{is_web_address, retried, send},
};
use crate::{
    error::{Error, Kind, Result},
    roots::Roots,
    secret::Secret,
};
use async_trait::async_trait;
use reqwest::{Client, StatusCode, Url};
use std::time::Duration;
use tokio::{task::JoinHandle, time::timeout};
use uuid::Uuid;

/// A request to a monitor; it works beside the run, and must not outlast it.
const PING: Duration = Duration::from_secs(5);
/// All that the end of a run may wait for the monitor.
const LAST_PING: Duration = Duration::from_secs(10);
/// What is left of that for a first ping that is still on its way.
const LATE_START: Duration = Duration::from_secs(1);

const REACH: &str = "check heartbeat-url, and that this machine may reach it";

/// What a monitor of scheduled jobs is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
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
    roots: Option<Roots>,
    run: Uuid,
    start: Option<JoinHandle<Result<()>>>,
}

impl Heartbeat {
    /// As the options say; `None` without them.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the address is none.
    pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
        let Some(url) = given.secret("heartbeat-url") else { return Ok(None) };
        if !is_web_address(url.expose()) || Url::parse(url.expose()).is_err() {
            return Err(Error::new(Kind::Usage, "option heartbeat-url: not a URL (its value is not shown)")
                .hint("copy the check's ping URL, such as https://hc-ping.com/…"));
        }
        Ok(Some(Box::new(Heartbeat { roots: given.roots.cloned(), ..Heartbeat::silent(url) })))
    }

    fn silent(url: &Secret) -> Self {
        Heartbeat { url: url.clone(), roots: None, run: Uuid::new_v4(), start: None }
    }

    /// Tells of a run that never began, because its options are wrong.
    ///
    /// # Errors
    /// [`Kind::Notify`] when the monitor did not take it; never holds the URL.
    pub async fn never_began(url: &Secret, why: String) -> Result<()> {
        Self::silent(url).ended(Signal::Failure, why).await
    }

    async fn ended(&mut self, signal: Signal, text: String) -> Result<()> {
        // A start that arrived behind its end would look like a run that hangs.
        let started = match self.start.take() {
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
        timeout(LAST_PING - LATE_START, ping(&self.url, self.roots.as_ref(), self.run, signal, text))
            .await
            .map_err(slow)??;
        started
    }
}

#[async_trait]
impl Channel for Heartbeat {
    fn name(&self) -> &'static str {
        "the heartbeat's monitor"
    }

    fn of_every_run(&self) -> bool {
        true
    }

    fn begin(&mut self) {
        let (url, roots, run) = (self.url.clone(), self.roots.clone(), self.run);
        self.start =
            Some(tokio::spawn(async move { ping(&url, roots.as_ref(), run, Signal::Start, String::new()).await }));
    }

    /// Returns within ten seconds.
    async fn end(&mut self, told: &Told<'_>) -> Result<()> {
        if told.dry_run {
            return Ok(());
        }
        let signal = if told.failed() { Signal::Failure } else { Signal::Success };
        self.ended(signal, told.text()).await
    }
}

async fn ping(url: &Secret, roots: Option<&Roots>, run: Uuid, signal: Signal, text: String) -> Result<()> {
    let url = ping_url(url, run, signal)?;
    let attempt = || async {
        let request = |client: Client| client.post(url.clone()).header("content-type", "text/plain").body(text.clone());
        let (status, pause, body) =
            send("the heartbeat's monitor was not reached", REACH, PING, roots, request).await?;
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
    retried(attempt, |status, body| {
        Error::new(Kind::Notify, format!("the heartbeat's monitor refused it: {status}, {body:?}"))
            .hint("check heartbeat-url: it is the check's ping URL, without /start or /fail")
    })
    .await
    .map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
