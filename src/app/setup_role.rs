//! `savepoint setup-role`.

use super::verb::{Env, Verb, Work, unless_interrupted};
use crate::{
    cli::{OutputArgs, SetupRoleArgs},
    config::{self, Validated},
    error::Result,
    postgres::conninfo::Target,
    report::{Page, Report},
    setup_role::{self, SetupRoleConfig},
};

/// Prints the SQL of a role for backups.
pub(super) struct SetupRole;

impl Verb for SetupRole {
    type Raw = SetupRoleArgs;
    type Config = SetupRoleConfig;

    fn output(raw: &SetupRoleArgs) -> &OutputArgs {
        &raw.output
    }

    fn config(raw: &SetupRoleArgs, env: Env<'_>) -> Result<Validated<SetupRoleConfig>> {
        config::setup_role(raw, env)
    }

    fn targets(config: &SetupRoleConfig) -> Vec<&Target> {
        vec![&config.source]
    }

    async fn run(config: &SetupRoleConfig, work: &Work) -> Result<Report> {
        let page = unless_interrupted(&work.cancel, setup_role::run(config, &*work.progress)).await;
        Ok(page.unwrap_or_else(|e| Page::failed("setup-role", "asking the server", &e)).into())
    }
}
