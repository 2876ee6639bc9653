//! `savepoint diff`.

use super::verb::{Env, Verb, Work, reading};
use crate::{
    cli::{DiffArgs, OutputArgs},
    config::{self, Validated},
    error::Result,
    inventory::{self, DiffConfig},
    report::Report,
};

/// Compares two stored backups.
pub(super) struct Diff;

impl Verb for Diff {
    type Raw = DiffArgs;
    type Config = DiffConfig;

    fn output(raw: &DiffArgs) -> &OutputArgs {
        &raw.output
    }

    fn config(raw: &DiffArgs, env: Env<'_>) -> Result<Validated<DiffConfig>> {
        config::diff(raw, env)
    }

    async fn run(config: &DiffConfig, work: &Work) -> Result<Report> {
        Ok(reading(work, "diff", inventory::diff(config)).await)
    }
}
