//! Mail, by an SMTP server: STARTTLS (`smtp://`, port 587) or TLS from the first byte (`smtps://`, port 465).

use super::channel::{Channel, Given, Told, checked, cure};
use crate::{
    error::{Error, Kind, Result},
    report::{
        Check,
        message::Message,
        render::mail::{html, subject, text},
    },
    roots::Roots,
    secret::Secret,
    value::usage,
};
use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{
        Mailbox, Mailboxes, MultiPart,
        header::{Header, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use std::time::Duration;

/// One answer of the server.
const ANSWER: Duration = Duration::from_secs(10);
/// The whole of a mail.
const WHOLE: Duration = Duration::from_secs(30);
/// Between an answer that it is to be tried again later and that.
const WAIT: Duration = Duration::from_secs(3);

const ADDRESS: &str = "ops@example.com, or Ops <ops@example.com>";
const URL: &str = "smtp-url is smtps://user:password@host:465, or smtp://user:password@host:587 with STARTTLS";

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    AtOnce,
    /// By STARTTLS, or not at all where the server does not offer it.
    IfOffered,
    ByStartTls,
    Never,
}

/// The server that takes mail.
#[derive(Debug)]
struct Relay {
    host: String,
    port: u16,
    user: Option<(String, Secret)>,
    tls: Begins,
}

/// Everyone who gets a mail.
#[derive(Debug)]
pub struct Mail {
    relay: Relay,
    from: Mailbox,
    to: Vec<Mailbox>,
    roots: Option<Roots>,
}

impl Mail {
    /// As the options say; `None` without them.
    ///
    /// # Errors
    /// [`Kind::Usage`] when one of them is missing or cannot be right.
    pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
        let (url, to, from) = (given.secret("smtp-url"), given.secret("mail-to"), given.secret("mail-from"));
        if url.is_none() && to.is_none() && from.is_none() {
            return Ok(None);
        }
        let missing = |option: &str, hint: &str| usage(format!("option {option}: not set")).hint(hint);
        let whom = "name whoever gets the mail: ops@example.com, one a line or with commas";
        let url = url.ok_or_else(|| missing("smtp-url", URL))?;
        let to = to.ok_or_else(|| missing("mail-to", whom))?;
        let relay = Relay::parse(url)?;
        let wrong = |e| usage(format!("option mail-to: {:?} are no addresses", to.expose())).because(e).hint(ADDRESS);
        let lines = to.expose().lines().map(str::trim).filter(|line| !line.is_empty());
        let to: Vec<Mailboxes> = lines.map(str::parse).collect::<std::result::Result<_, _>>().map_err(wrong)?;
        let to: Vec<Mailbox> = to.into_iter().flatten().collect();
        let first = to.first().ok_or_else(|| missing("mail-to", whom))?;
        let from = match from {
            Some(from) => mailbox("mail-from", from.expose().trim())?,
            // As the user at the relay, else as whoever gets it.
            None => match relay.user.as_ref().filter(|(user, _)| user.contains('@')) {
                Some((user, _)) => mailbox("mail-from", user)?,
                None => first.clone(),
            },
        };
        Ok(Some(Box::new(Mail { relay, from, to, roots: given.roots.cloned() })))
    }

    fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>> {
        let Relay { host, port, user, tls } = &self.relay;
        let mut parameters = TlsParameters::builder(host.clone());
        for pem in self.roots.iter().flat_map(Roots::pems) {
            parameters =
                parameters.add_root_certificate(Certificate::from_pem(pem.as_bytes()).map_err(|e| self.failed(e))?);
        }
        let parameters = || parameters.build().map_err(|e| self.failed(e));
        let tls = match tls {
            Begins::AtOnce => Tls::Wrapper(parameters()?),
            Begins::ByStartTls => Tls::Required(parameters()?),
            Begins::IfOffered => Tls::Opportunistic(parameters()?),
            Begins::Never => Tls::None,
        };
        let transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host).port(*port).tls(tls).timeout(Some(ANSWER));
        Ok(match user {
            Some((user, password)) => {
                transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()))
            }
            None => transport,
        }
        .build())
    }

    /// Sends a mail to all.
    async fn send(&self, message: &Message) -> Result<()> {
        let mut mail = lettre::Message::builder().from(self.from.clone()).subject(subject(message)).header(Generated);
        for one in &self.to {
            mail = mail.to(one.clone());
        }
        let mail = mail.multipart(MultiPart::alternative_plain_html(text(message), html(message)));
        let mail = mail.map_err(|e| Error::new(Kind::Notify, "the mail could not be made").because(e))?;
        let sent = async {
            match self.transport()?.send(mail.clone()).await {
                // "Later" of a server with greylisting, or a connection that broke.
                Err(e) if !e.is_permanent() => {
                    tokio::time::sleep(WAIT).await;
                    self.transport()?.send(mail).await.map(drop).map_err(|e| self.failed(e))
                }
                sent => sent.map(drop).map_err(|e| self.failed(e)),
            }
        };
        self.within(sent).await
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let late = |_| {
            Error::new(Kind::Notify, format!("the mail server {} did not answer in time", self.relay.host)).hint(URL)
        };
        tokio::time::timeout(WHOLE, work).await.map_err(late)?
    }

    /// The server's own words stand in it; no password does.
    fn failed(&self, e: lettre::transport::smtp::Error) -> Error {
        let what = format!("the mail server {} did not take the mail", self.relay.host);
        let error = Error::new(Kind::Notify, what).because(e);
        let hint = cure(&error, URL);
        error.hint(hint)
    }
}

/// That no person wrote it (RFC 3834): nobody's holiday answers it.
#[derive(Clone)]
struct Generated;

impl Header for Generated {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Generated)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

impl Relay {
    fn parse(url: &Secret) -> Result<Relay> {
        let wrong = |why: &str| usage(format!("option smtp-url: {why} (its value is not shown)")).hint(URL);
        let url = Url::parse(url.expose()).map_err(|_| wrong("not a URL"))?;
        let word = url.query_pairs().find(|(name, _)| name == "tls").map(|(_, word)| word.into_owned());
        let (tls, port) = match (url.scheme(), word.as_deref()) {
            ("smtps", None | Some("wrapper")) => (Begins::AtOnce, 465),
            ("smtp", None | Some("required")) => (Begins::ByStartTls, 587),
            ("smtp", Some("opportunistic")) => (Begins::IfOffered, 587),
            ("smtp", Some("none")) => (Begins::Never, 25),
            ("smtp" | "smtps", Some(_)) => return Err(wrong("tls may be required, opportunistic or none")),
            _ => return Err(wrong("neither smtp:// nor smtps://")),
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        let password = || Secret::new(decoded(url.password().unwrap_or_default()));
        let user = (!url.username().is_empty()).then(|| (decoded(url.username()), password()));
        Ok(Relay { host: host.trim_matches(['[', ']']).to_owned(), port: url.port().unwrap_or(port), user, tls })
    }
}

fn mailbox(option: &str, text: &str) -> Result<Mailbox> {
    let wrong = |e| usage(format!("option {option}: {text:?} is no address")).because(e).hint(ADDRESS);
    text.parse::<Mailbox>().map_err(wrong)
}

#[async_trait]
impl Channel for Mail {
    fn name(&self) -> &'static str {
        "the mail server"
    }

    async fn end(&mut self, told: &Told<'_>) -> Result<()> {
        self.send(&told.message()).await
    }

    /// With `post` by a mail, else by logging in.
    async fn check(&self, post: bool, database: &str) -> Option<Check> {
        let answer = match post {
            true => self.send(&Message::test(database)).await.map(|()| "mail sent"),
            false => {
                let asked = async { self.transport()?.test_connection().await.map_err(|e| self.failed(e)) };
                match self.within(asked).await {
                    Ok(true) => Ok("the mail server lets us in"),
                    Ok(false) => {
                        Err(Error::new(Kind::Notify, "the mail server answers, but not as it should").hint(URL))
                    }
                    Err(e) => Err(e),
                }
            }
        };
        Some(checked("mail", answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_tls_begins() {
        let parsed =
            |url: &str| Relay::parse(&Secret::new(url)).map(|r| (r.host, r.port, r.tls)).map_err(|e| e.one_line());
        let relay = |host: &str, port, tls| Ok((host.to_owned(), port, tls));
        assert_eq!(parsed("smtps://mx.example.com"), relay("mx.example.com", 465, Begins::AtOnce));
        assert_eq!(parsed("smtp://u:p@mx.example.com"), relay("mx.example.com", 587, Begins::ByStartTls));
        assert_eq!(parsed("smtp://mx:2525?tls=opportunistic"), relay("mx", 2525, Begins::IfOffered));
        assert_eq!(parsed("smtp://[::1]:25?tls=none"), relay("::1", 25, Begins::Never));
        for wrong in ["mx.example.com:s3cret", "http://u:s3cret@mx", "smtps://u:s3cret@mx?tls=none", "smtp://"] {
            assert!(parsed(wrong).is_err_and(|e| e.contains("smtp-url") && !e.contains("s3cret")), "{wrong}");
        }
        let user = Relay::parse(&Secret::new("smtps://a%40b:p%3Aw@mx")).expect("is valid").user.expect("has one");
        assert_eq!((user.0.as_str(), user.1.expose()), ("a@b", "p:w"));
    }
}
