//! Who is told.

use crate::{
    cli::NotifyArgs,
    error::Result,
    notify::{Channels, Given},
    secret::Secret,
    value::choice,
};

pub(super) fn notify(raw: &NotifyArgs) -> Result<Channels> {
    let given = [("slack-webhook-url", &raw.slack_webhook_url), ("heartbeat-url", &raw.heartbeat_url)];
    let set = |(name, value): (&'static str, &Option<Secret>)| Some((name, value.clone()?));
    let secrets: Vec<_> = given.into_iter().filter_map(set).filter(|(_, s)| !s.expose().is_empty()).collect();
    Channels::of(&Given { secrets: &secrets, notify_on: choice("notify-on", &raw.notify_on)? })
}
