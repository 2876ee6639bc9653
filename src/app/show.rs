//! `savepoint show`.

use super::verb::{Env, Verb, Work, reading};
use crate::{
    cli::{OutputArgs, ShowArgs},
    config::{self, Validated},
    error::Result,
    inventory::{self, ShowConfig},
    report::Report,
};

/// Shows one stored backup.
pub(super) struct Show;

impl Verb for Show {
    type Raw = ShowArgs;
    type Config = ShowConfig;

    fn output(raw: &ShowArgs) -> &OutputArgs {
        &raw.output
    }

    fn config(raw: &ShowArgs, env: Env<'_>) -> Result<Validated<ShowConfig>> {
        config::show(raw, env)
    }

    async fn run(config: &ShowConfig, work: &Work) -> Result<Report> {
        Ok(reading(work, "show", inventory::show(config)).await)
    }
}
