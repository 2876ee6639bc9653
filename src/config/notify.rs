//! Who is told.

use crate::{
    cli::NotifyArgs,
    error::Result,
    notify::{Channels, Given},
    roots::Roots,
    secret::Secret,
    value::choice,
};

/// `roots`: those that webhooks and mail servers may be signed by besides the machine's own.
pub(super) fn notify(raw: &NotifyArgs, roots: Option<Roots>) -> Result<Channels> {
    let secrets = raw.secrets().into_iter().filter_map(|(name, secret)| Some((name, secret.clone()?)));
    let names = raw.names().into_iter().filter_map(|(name, text)| Some((name, Secret::new(text?.trim()))));
    let all: Vec<_> = secrets.chain(names).filter(|(_, text)| !text.expose().is_empty()).collect();
    Channels::of(&Given { secrets: &all, roots: roots.as_ref() }, choice("notify-on", &raw.notify_on)?)
}
