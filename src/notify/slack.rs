//! Slack, by an incoming webhook or by one that a workflow begins with.

use super::{
    channel::{Channel, Given, Told, checked},
    hook::Hook,
};
use crate::{
    error::Result,
    report::{
        Check,
        message::Message,
        render::slack::{blocks, variables},
    },
};
use async_trait::async_trait;
use reqwest::StatusCode;
use serde_json::{Value, json};

/// A webhook.
#[derive(Debug)]
pub struct Slack {
    hook: Hook,
    /// It begins a workflow, which takes variables in place of blocks.
    workflow: bool,
}

impl Slack {
    /// As the options say; `None` without them.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when the address is none.
    pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
        let hint = "copy it from the Slack app's page \"Incoming Webhooks\": https://hooks.slack.com/services/…";
        let Some(hook) = Hook::open(given, "Slack", "slack-webhook-url", hint)? else { return Ok(None) };
        let workflow = ["/triggers/", "/workflows/"].iter().any(|path| hook.url.expose().contains(path));
        Ok(Some(Box::new(Slack { hook, workflow })))
    }

    fn body(&self, message: &Message) -> Value {
        if self.workflow { variables(message) } else { blocks(message) }
    }
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &'static str {
        self.hook.name
    }

    async fn end(&mut self, told: &Told<'_>) -> Result<()> {
        self.hook.post(&self.body(&told.message())).await
    }

    /// With `post` by a message about `database`, else by an empty one, which Slack refuses with 400 where the webhook exists, and with 403
    /// or 404 where it does not. A workflow would begin with that.
    async fn check(&self, post: bool, database: &str) -> Option<Check> {
        let answer = if post {
            self.hook.post(&self.body(&Message::test(database))).await.map(|()| "message posted")
        } else if self.workflow {
            return None;
        } else {
            match self.hook.post_once(&json!({})).await {
                Ok((status, ..)) if status == StatusCode::BAD_REQUEST || status.is_success() => Ok("webhook answers"),
                Ok((status, _, body)) => Err(self.hook.refused(status, &body)),
                Err(e) => Err(e),
            }
        };
        Some(checked("slack", answer))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Got, open, server, told},
        *,
    };
    use crate::{
        report::{Status, fixture},
        secret::Secret,
    };

    async fn slack(answers: &[&str]) -> (Box<dyn Channel>, Got) {
        let (url, got) = server(answers).await;
        (open(&[("slack-webhook-url", url)]), got)
    }

    fn bodies(got: &Got) -> Vec<Value> {
        let got = got.lock().expect("no panic");
        got.iter().map(|request| serde_json::from_str(&request.body).expect("is JSON")).collect()
    }

    #[tokio::test]
    async fn a_report_arrives() {
        let (report, context) = (fixture::proven().into(), Default::default());
        let (mut slack, got) = slack(&["200 OK|ok"]).await;
        slack.end(&told(&report, &context)).await.expect("is taken");
        assert_eq!(bodies(&got), [blocks(&Message::of(&report, &context))]);
        // A workflow takes texts by name.
        let (url, got) = server(&["200 OK|ok"]).await;
        let url = Secret::new(url.expose().replace("/services/", "/triggers/"));
        open(&[("slack-webhook-url", url)]).end(&told(&report, &context)).await.expect("is taken");
        assert!(bodies(&got)[0]["headline"].as_str().is_some_and(|text| text.contains("stored and proven")));
    }

    #[tokio::test]
    async fn a_refusal_names_its_cure() {
        let (mut slack, _) = slack(&["404 Not Found|no_service"]).await;
        let (report, context) = (fixture::proven().into(), Default::default());
        let error = slack.end(&told(&report, &context)).await.expect_err("is refused");
        assert_eq!(error.to_string(), "Slack refused the message: 404 Not Found, \"no_service\"");
        assert!(error.hint_text().is_some_and(|h| h.contains("slack-webhook-url")));
    }

    #[tokio::test]
    async fn a_check_posts_only_when_asked() {
        let answers = ["400 Bad Request|no_text", "403 Forbidden|invalid_token", "200 OK|ok"];
        let (slack, got) = slack(&answers).await;
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
