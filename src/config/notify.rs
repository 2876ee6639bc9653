//! Who is told.

use crate::{
    cli::NotifyArgs,
    error::Result,
    notify::{Channels, Given},
    roots::Roots,
    secret::Secret,
    value::choice,
};

/// `roots`: those that webhooks may be signed by besides the machine's own.
pub(super) fn notify(raw: &NotifyArgs, roots: Option<Roots>) -> Result<Channels> {
    let given = [("slack-webhook-url", &raw.slack_webhook_url), ("heartbeat-url", &raw.heartbeat_url)];
    let set = |(name, value): (&'static str, &Option<Secret>)| Some((name, value.clone()?));
    let secrets: Vec<_> = given.into_iter().filter_map(set).filter(|(_, s)| !s.expose().is_empty()).collect();
    Channels::of(&Given { secrets: &secrets, notify_on: choice("notify-on", &raw.notify_on)?, roots: roots.as_ref() })
}
