//! `savepoint validate`.

use super::verb::{Env, Verb, Work, unless_interrupted};
use crate::{
    cli::{NotifyArgs, OutputArgs, ValidateArgs},
    config::{self, Validated},
    error::Result,
    postgres::conninfo::Target,
    report::{Page, Report},
    validate::{self, ValidateConfig},
};

/// Holds a database against the backup from before a migration.
pub(super) struct Validate;

impl Verb for Validate {
    type Raw = ValidateArgs;
    type Config = ValidateConfig;

    fn output(raw: &ValidateArgs) -> &OutputArgs {
        &raw.output
    }

    fn notify(raw: &ValidateArgs) -> Option<(&NotifyArgs, &str)> {
        Some((&raw.notify, ""))
    }

    fn config(raw: &ValidateArgs, env: Env<'_>) -> Result<Validated<ValidateConfig>> {
        config::validate(raw, env)
    }

    fn targets(config: &ValidateConfig) -> Vec<&Target> {
        vec![&config.target]
    }

    async fn run(config: &ValidateConfig, work: &Work) -> Result<Report> {
        let page = unless_interrupted(&work.cancel, validate::validate(config, &work.progress)).await;
        Ok(page.unwrap_or_else(|e| Page::failed("validate", "looking at the database", &e)).into())
    }
}
