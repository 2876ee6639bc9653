//! `savepoint restore`.

use super::verb::{Env, Verb, Work};
use crate::{
    cli::{NotifyArgs, OutputArgs, RestoreArgs},
    config::{self, Validated},
    error::Result,
    postgres::conninfo::Target,
    report::Report,
    restore::{self, RestoreConfig},
};

/// Restores a backup into a database.
pub(super) struct Restore;

impl Verb for Restore {
    type Raw = RestoreArgs;
    type Config = RestoreConfig;

    fn output(raw: &RestoreArgs) -> &OutputArgs {
        &raw.output
    }

    fn notify(raw: &RestoreArgs) -> Option<(&NotifyArgs, &str)> {
        Some((&raw.notify, &raw.dry.dry_run))
    }

    fn config(raw: &RestoreArgs, env: Env<'_>) -> Result<Validated<RestoreConfig>> {
        config::restore(raw, env)
    }

    fn targets(config: &RestoreConfig) -> Vec<&Target> {
        vec![&config.target]
    }

    async fn run(config: &RestoreConfig, work: &Work) -> Result<Report> {
        Ok(restore::run(config, work.progress.clone(), work.cancel.clone()).await.into())
    }
}
