//! ntfy, by a topic of ntfy.sh or of a server of one's own.

use super::{
    channel::{Channel, Given},
    hook::Hook,
};
use crate::{
    error::{Error, Kind, Result},
    report::render::ntfy::publish,
    secret::Secret,
};

/// A topic's channel. Whoever knows its name reads it, so the address is a secret.
///
/// As the options say; `None` without them.
///
/// # Errors
/// [`Kind::Usage`] when the address is none of a topic, or a token has no address.
pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
    let hint = "name the topic's address: https://ntfy.sh/topic";
    let token = given.secret("ntfy-token");
    let Some(hook) = Hook::open(given, "ntfy", "ntfy-url", hint)? else {
        return match token {
            Some(_) => Err(Error::new(Kind::Usage, "option ntfy-token: there is no ntfy-url").hint(hint)),
            None => Ok(None),
        };
    };
    let address = hook.url.expose().trim_end_matches('/').to_owned();
    let topic = address.rsplit_once('/').filter(|(server, _)| !server.ends_with('/'));
    let Some((server, topic)) =
        topic.filter(|(_, topic)| topic.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)))
    else {
        return Err(Error::new(Kind::Usage, "option ntfy-url: no topic's address (its value is not shown)").hint(hint));
    };
    // What is published as JSON goes to the server's root.
    let url = Secret::new(format!("{server}/"));
    let bearer = token.map(|token| ("authorization", Secret::new(format!("Bearer {}", token.expose()))));
    let hook = Hook { url, headers: bearer.into_iter().collect(), ..hook };
    let topic = topic.to_owned();
    Ok(Some(hook.telling("ntfy", move |message| publish(message, &topic))))
}
