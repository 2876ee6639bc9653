//! Discord, by a channel's webhook.

use super::{
    channel::{Channel, Given},
    hook::Hook,
};
use crate::{error::Result, report::render::discord::embed};

/// As the options say; `None` without them.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when the address is none.
pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
    let hint = "copy it from the channel's settings, Integrations, Webhooks: https://discord.com/api/webhooks/…";
    let hook = Hook::open(given, "Discord", "discord-webhook-url", hint)?;
    Ok(hook.map(|hook| hook.telling("discord", embed)))
}
