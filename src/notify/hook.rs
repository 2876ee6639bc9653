//! A channel that is told by one request with JSON.

use super::{
    channel::{Channel, Given, Told, checked},
    http::{Answer, is_web_address, retried, send},
};
use crate::{
    error::{Error, Kind, Result},
    report::{Check, message::Message},
    roots::Roots,
    secret::Secret,
};
use async_trait::async_trait;
use reqwest::StatusCode;
use serde_json::Value;
use std::{fmt, time::Duration};

/// One request's time, connection included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the requests of a channel go. The whole URL is a secret.
#[derive(Debug)]
pub(super) struct Hook {
    /// Who is told, as warnings name it: `Discord`.
    pub name: &'static str,
    /// The option that holds the address.
    pub option: &'static str,
    pub url: Secret,
    /// Headers besides those of JSON.
    pub headers: Vec<(&'static str, Secret)>,
    pub roots: Option<Roots>,
}

impl Hook {
    /// As the option says; `None` without it. `hint`: where such an address is found.
    ///
    /// # Errors
    /// [`Kind::Usage`] when the address is none.
    pub fn open(given: &Given<'_>, name: &'static str, option: &'static str, hint: &str) -> Result<Option<Hook>> {
        given.secret(option).map(|url| Hook::at(url.clone(), given, name, option, hint)).transpose()
    }

    /// The same at an address that was made of options.
    pub fn at(url: Secret, given: &Given<'_>, name: &'static str, option: &'static str, hint: &str) -> Result<Hook> {
        if !is_web_address(url.expose()) || reqwest::Url::parse(url.expose()).is_err() {
            let message = format!("option {option}: not a URL (its value is not shown)");
            return Err(Error::new(Kind::Usage, message).hint(hint));
        }
        Ok(Hook { name, option, url, headers: Vec::new(), roots: given.roots.cloned() })
    }

    /// Tells it, asked again where that may help.
    ///
    /// # Errors
    /// [`Kind::Notify`]; never holds the URL.
    pub async fn post(&self, body: &Value) -> Result<()> {
        self.post_bytes(body.to_string(), &[]).await
    }

    /// The same with bytes that were made before, and headers about them.
    pub async fn post_bytes(&self, body: String, more: &[(&'static str, String)]) -> Result<()> {
        retried(|| self.send(body.clone(), more), |status, body| self.refused(status, body)).await.map(drop)
    }

    /// One request.
    pub async fn post_once(&self, body: &Value) -> Result<Answer> {
        self.send(body.to_string(), &[]).await
    }

    async fn send(&self, body: String, more: &[(&'static str, String)]) -> Result<Answer> {
        let hint = format!("check {}, and that this machine may reach it", self.option);
        let post = |client: reqwest::Client| {
            let request = client.post(self.url.expose()).header("content-type", "application/json").body(body);
            let own = self.headers.iter().map(|(name, value)| (*name, value.expose()));
            let all = own.chain(more.iter().map(|(name, value)| (*name, value.as_str())));
            all.fold(request, |request, (name, value)| request.header(name, value))
        };
        send(&format!("{} was not reached", self.name), &hint, TIMEOUT, self.roots.as_ref(), post).await
    }

    pub fn refused(&self, status: StatusCode, body: &str) -> Error {
        let error = Error::new(Kind::Notify, format!("{} refused the message: {status}, {body:?}", self.name));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => error
                .hint(format!("it was revoked, or what it leads to is gone: make a new one and set {}", self.option)),
            _ => error,
        }
    }

    /// The channel whose message is this JSON and no more. `check`: its name among the checks.
    pub fn telling(
        self,
        check: &'static str,
        body: impl Fn(&Message) -> Value + Send + Sync + 'static,
    ) -> Box<dyn Channel> {
        Box::new(Telling { hook: self, check, body: Box::new(body) })
    }
}

/// See [`Hook::telling`].
struct Telling {
    hook: Hook,
    check: &'static str,
    body: Box<dyn Fn(&Message) -> Value + Send + Sync>,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hook.fmt(f)
    }
}

#[async_trait]
impl Channel for Telling {
    fn name(&self) -> &'static str {
        self.hook.name
    }

    async fn end(&mut self, told: &Told<'_>) -> Result<()> {
        self.hook.post(&(self.body)(&told.message())).await
    }

    /// By posting a message, or not at all.
    async fn check(&self, post: bool, database: &str) -> Option<Check> {
        if !post {
            return None;
        }
        let posted = self.hook.post(&(self.body)(&Message::test(database))).await;
        Some(checked(self.check, posted.map(|()| "message posted")))
    }
}
