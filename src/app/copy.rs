//! `savepoint copy`.

use super::verb::{Env, Verb, Work};
use crate::{
    cli::{CopyArgs, NotifyArgs, OutputArgs},
    config::{self, Validated},
    copy::{self, CopyConfig},
    error::Result,
    report::Report,
};

/// Brings stored backups to another place.
pub(super) struct Copy;

impl Verb for Copy {
    type Raw = CopyArgs;
    type Config = CopyConfig;

    fn output(raw: &CopyArgs) -> &OutputArgs {
        &raw.output
    }

    fn notify(raw: &CopyArgs) -> Option<(&NotifyArgs, &str)> {
        Some((&raw.notify, &raw.dry.dry_run))
    }

    fn config(raw: &CopyArgs, env: Env<'_>) -> Result<Validated<CopyConfig>> {
        config::copy(raw, env)
    }

    async fn run(config: &CopyConfig, work: &Work) -> Result<Report> {
        Ok(copy::run(config, work.progress.clone(), work.cancel.clone()).await.into())
    }
}
