//! Any program of the team's own: the report as JSON, signed if there is a key.

use super::{
    channel::{Channel, Given, Told, checked},
    hook::Hook,
};
use crate::{
    error::{Error, Kind, Result},
    report::{
        Check,
        render::{Renderer, json::Json},
    },
    secret::Secret,
};
use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

/// HMAC-SHA256 of the body, as GitHub signs its own webhooks
/// (<https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>).
const SIGNATURE: &str = "X-Savepoint-Signature-256";
/// How the run ended: `good`, `doubtful`, `bad`.
const OUTCOME: &str = "X-Savepoint-Outcome";

/// A web server that takes what `--json` prints.
#[derive(Debug)]
pub struct Webhook {
    hook: Hook,
    key: Option<Secret>,
}

impl Webhook {
    /// As the options say; `None` without them.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the address is none, or a key has no address.
    pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
        let key = given.secret("webhook-secret").cloned();
        let hook = Hook::open(
            given,
            "the webhook",
            "webhook-url",
            "name the address that takes the report, such as https://…",
        )?;
        match (hook, key) {
            (Some(hook), key) => Ok(Some(Box::new(Webhook { hook, key }))),
            (None, Some(_)) => Err(Error::new(Kind::Usage, "option webhook-secret: there is no webhook-url")
                .hint("set webhook-url, the address that takes the report")),
            (None, None) => Ok(None),
        }
    }

    async fn post(&self, body: String, outcome: &str) -> Result<()> {
        let mut headers = vec![(OUTCOME, outcome.to_owned())];
        if let Some(key) = &self.key {
            headers.push((SIGNATURE, format!("sha256={}", hex::encode(signed(key, body.as_bytes())?))));
        }
        self.hook.post_bytes(body, &headers).await
    }
}

/// HMAC-SHA256 (RFC 2104).
fn signed(key: &Secret, bytes: &[u8]) -> Result<Vec<u8>> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes());
    let mut mac = mac.map_err(|_| Error::new(Kind::Usage, "option webhook-secret: no key for HMAC-SHA256"))?;
    mac.update(bytes);
    Ok(mac.finalize().into_bytes().to_vec())
}

#[async_trait]
impl Channel for Webhook {
    fn name(&self) -> &'static str {
        self.hook.name
    }

    async fn end(&mut self, told: &Told<'_>) -> Result<()> {
        self.post(Json.render(told.report, told.context), told.message().verdict.word()).await
    }

    async fn check(&self, post: bool, database: &str) -> Option<Check> {
        if !post {
            return None;
        }
        let body = json!({ "format": 1, "command": "check", "database": database, "test": true });
        Some(checked("webhook", self.post(body.to_string(), "good").await.map(|()| "message posted")))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{open, server, told},
        *,
    };
    use crate::report::fixture;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        let mac = signed(&Secret::new("Jefe"), b"what do ya want for nothing?").expect("a key");
        assert_eq!(hex::encode(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[tokio::test]
    async fn what_is_signed_is_what_arrives() {
        let (url, got) = server(&["204 No Content|"]).await;
        let key = Secret::new("s3cret key");
        let (report, context) = (fixture::proof_failed().into(), Default::default());
        let mut webhook = open(&[("webhook-url", url), ("webhook-secret", key.clone())]);
        webhook.end(&told(&report, &context)).await.expect("is taken");
        let got = got.lock().expect("no panic");
        let expected = format!("sha256={}", hex::encode(signed(&key, got[0].body.as_bytes()).expect("a key")));
        assert_eq!(got[0].header("x-savepoint-signature-256"), Some(expected.as_str()));
        assert_eq!(got[0].header("x-savepoint-outcome"), Some("bad"));
        let body: serde_json::Value = serde_json::from_str(&got[0].body).expect("is JSON");
        assert_eq!(body["exit_code"], 3);
    }
}
