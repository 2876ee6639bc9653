//! `savepoint verify`.

use super::verb::{Env, Verb, Work};
use crate::{
    cli::{NotifyArgs, OutputArgs, VerifyArgs},
    config::{self, Validated},
    drill::{self, VerifyConfig},
    error::Result,
    postgres::conninfo::Target,
    report::Report,
};

/// Proves a backup by a restore drill.
pub(super) struct Verify;

impl Verb for Verify {
    type Raw = VerifyArgs;
    type Config = VerifyConfig;

    fn output(raw: &VerifyArgs) -> &OutputArgs {
        &raw.output
    }

    fn notify(raw: &VerifyArgs) -> Option<(&NotifyArgs, &str)> {
        Some((&raw.notify, ""))
    }

    fn config(raw: &VerifyArgs, env: Env<'_>) -> Result<Validated<VerifyConfig>> {
        config::verify(raw, env)
    }

    fn targets(config: &VerifyConfig) -> Vec<&Target> {
        config.verify_url.iter().collect()
    }

    async fn run(config: &VerifyConfig, work: &Work) -> Result<Report> {
        Ok(drill::run(config, work.progress.clone(), work.cancel.clone()).await.into())
    }
}
