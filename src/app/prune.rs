//! `savepoint prune`.

use super::verb::{Env, Verb, Work};
use crate::{
    cli::{NotifyArgs, OutputArgs, PruneArgs},
    config::{self, Validated},
    error::Result,
    prune::{self, PruneConfig},
    report::Report,
};

/// Deletes old backups by a rule.
pub(super) struct Prune;

impl Verb for Prune {
    type Raw = PruneArgs;
    type Config = PruneConfig;

    fn output(raw: &PruneArgs) -> &OutputArgs {
        &raw.output
    }

    fn notify(raw: &PruneArgs) -> Option<(&NotifyArgs, &str)> {
        Some((&raw.notify, &raw.dry.dry_run))
    }

    fn config(raw: &PruneArgs, env: Env<'_>) -> Result<Validated<PruneConfig>> {
        config::prune(raw, env)
    }

    async fn run(config: &PruneConfig, work: &Work) -> Result<Report> {
        Ok(prune::run(config, work.progress.clone(), work.cancel.clone()).await.into())
    }
}
