//! Slack, by an incoming webhook.

use super::{
    channel::{Channel, Given, NotifyOn, Told},
    http::{Answer, is_web_address, retried, send},
};
use crate::{
    error::{Error, Kind, Result},
    report::{Check, Status, render::slack as message},
    roots::Roots,
    secret::Secret,
};
use async_trait::async_trait;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// One request's time, connection included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An incoming webhook; the whole URL is a secret.
#[derive(Debug)]
pub struct Slack {
    webhook_url: Secret,
    notify_on: NotifyOn,
    roots: Option<Roots>,
}

impl Slack {
    /// As the options say; `None` without them.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the address is none.
    pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
        let Some(url) = given.secret("slack-webhook-url") else { return Ok(None) };
        if !is_web_address(url.expose()) {
            return Err(Error::new(Kind::Usage, "option slack-webhook-url: not a URL (its value is not shown)")
                .hint("copy it from the Slack app's page \"Incoming Webhooks\": https://hooks.slack.com/services/…"));
        }
        Ok(Some(Box::new(Slack { webhook_url: url.clone(), notify_on: given.notify_on, roots: given.roots.cloned() })))
    }

    async fn post(&self, body: &Value) -> Result<()> {
        retried(|| self.post_once(body), refused).await
    }

    async fn post_once(&self, body: &Value) -> Result<Answer> {
        let hint = "check slack-webhook-url, and that this machine may reach it";
        let post = |client: reqwest::Client| client.post(self.webhook_url.expose()).json(body);
        send("the Slack webhook was not reached", hint, TIMEOUT, self.roots.as_ref(), post).await
    }
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &'static str {
        "Slack"
    }

    async fn end(&mut self, told: &Told<'_>) -> Result<()> {
        if !self.notify_on.wants(told.failed()) {
            return Ok(());
        }
        self.post(&message::message(told.report, told.context)).await
    }

    /// With `post` by a message about `database`, else by an empty one, which Slack refuses with 400 where the webhook exists, and with 403
    /// or 404 where it does not.
    async fn check(&self, post: bool, database: &str) -> Option<Check> {
        let answer = if post {
            self.post(&message::test_message(database)).await.map(|()| "message posted")
        } else {
            match self.post_once(&json!({})).await {
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
        Some(Check { name: "slack".into(), status, detail, hint })
    }
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
    use super::{
        super::tests::{server, told},
        *,
    };
    use crate::report::fixture;

    async fn slack(answers: &[&str], notify_on: NotifyOn) -> (Slack, super::super::tests::Got) {
        let (url, got) = server(answers).await;
        (Slack { webhook_url: url, notify_on, roots: None }, got)
    }

    fn bodies(got: &super::super::tests::Got) -> Vec<Value> {
        let got = got.lock().expect("no panic");
        got.iter().map(|(_, body)| serde_json::from_str(body).expect("is JSON")).collect()
    }

    #[tokio::test]
    async fn a_report_arrives() {
        let (mut slack, got) = slack(&["200 OK|ok"], NotifyOn::Always).await;
        let (report, context) = (fixture::proven().into(), Default::default());
        slack.end(&told(&report, &context)).await.expect("is taken");
        assert_eq!(bodies(&got), [message::message(&report, &context)]);
    }

    #[tokio::test]
    async fn a_refusal_names_its_cure() {
        let (mut slack, _) = slack(&["404 Not Found|no_service"], NotifyOn::Always).await;
        let (report, context) = (fixture::proven().into(), Default::default());
        let error = slack.end(&told(&report, &context)).await.expect_err("is refused");
        assert_eq!(error.to_string(), "Slack refused the message: 404 Not Found, \"no_service\"");
        assert!(error.hint_text().is_some_and(|h| h.contains("slack-webhook-url")));
    }

    #[tokio::test]
    async fn only_wanted_runs_are_told() {
        for (notify_on, report, expected) in [
            (NotifyOn::Failure, fixture::proven(), 0),
            (NotifyOn::Failure, fixture::proof_failed(), 1),
            (NotifyOn::Success, fixture::stored(), 1),
            (NotifyOn::Success, fixture::failed(), 0),
        ] {
            let (mut slack, got) = slack(&["200 OK|ok"], notify_on).await;
            slack.end(&told(&report.into(), &Default::default())).await.expect("no error");
            assert_eq!(got.lock().expect("no panic").len(), expected);
        }
    }

    #[tokio::test]
    async fn a_check_posts_only_when_asked() {
        let answers = ["400 Bad Request|no_text", "403 Forbidden|invalid_token", "200 OK|ok"];
        let (slack, got) = slack(&answers, NotifyOn::Always).await;
        let check = async |post| slack.check(post, "app").await.expect("can be asked");
        assert_eq!(check(false).await.status, Status::Ok);
        let revoked = check(false).await;
        assert_eq!(revoked.status, Status::Warning);
        assert!(revoked.hint.is_some());
        assert_eq!(check(true).await.detail, "message posted");
        let got = bodies(&got);
        assert_eq!(got[..2], [json!({}), json!({})]);
        assert!(got[2]["text"].as_str().is_some_and(|t| t.contains("app")));
    }
}
