//! `savepoint list`.

use super::verb::{Env, Verb, Work, reading};
use crate::{
    cli::{ListArgs, OutputArgs},
    config::{self, Validated},
    error::Result,
    inventory::{self, ListConfig},
    report::Report,
};

/// Lists stored backups.
pub(super) struct List;

impl Verb for List {
    type Raw = ListArgs;
    type Config = ListConfig;

    fn output(raw: &ListArgs) -> &OutputArgs {
        &raw.output
    }

    fn config(raw: &ListArgs, env: Env<'_>) -> Result<Validated<ListConfig>> {
        config::listing(raw, env)
    }

    async fn run(config: &ListConfig, work: &Work) -> Result<Report> {
        Ok(reading(work, "list", inventory::list(config)).await)
    }
}
