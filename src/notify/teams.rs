//! Microsoft Teams, by a workflow that begins with a webhook (the connectors of old are gone).

use super::{
    channel::{Channel, Given},
    hook::Hook,
};
use crate::{error::Result, report::render::teams::card};

/// As the options say; `None` without them.
///
/// # Errors
/// [`crate::error::Kind::Usage`] when the address is none.
pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
    let hint = "make a workflow of the template \"Send webhook alerts to a channel\" in Teams, and copy its URL";
    let hook = Hook::open(given, "Microsoft Teams", "teams-webhook-url", hint)?;
    Ok(hook.map(|hook| hook.telling("teams", card)))
}
