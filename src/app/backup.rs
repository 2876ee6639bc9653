//! `savepoint backup`.

use super::verb::{Env, Verb, Work, unless_interrupted};
use crate::{
    backup::{self, BackupConfig},
    cli::{BackupArgs, NotifyArgs, OutputArgs},
    config::{self, Validated},
    error::Result,
    postgres::conninfo::Target,
    report::Report,
};

/// Takes a backup, or says what it would do.
pub(super) struct Backup;

/// What it needs.
pub(super) struct Asked {
    config: BackupConfig,
    dry_run: bool,
}

impl Verb for Backup {
    type Raw = BackupArgs;
    type Config = Asked;

    fn output(raw: &BackupArgs) -> &OutputArgs {
        &raw.output
    }

    fn notify(raw: &BackupArgs) -> Option<(&NotifyArgs, &str)> {
        Some((&raw.notify, &raw.dry.dry_run))
    }

    fn config(raw: &BackupArgs, env: Env<'_>) -> Result<Validated<Asked>> {
        let checked = config::backup(raw, env)?;
        let dry_run = checked.output.dry_run;
        Ok(checked.map(|config| Asked { config, dry_run }))
    }

    fn targets(asked: &Asked) -> Vec<&Target> {
        asked.config.targets()
    }

    async fn run(asked: &Asked, work: &Work) -> Result<Report> {
        let progress = work.progress.clone();
        if asked.dry_run {
            let plan = unless_interrupted(&work.cancel, backup::preview(&asked.config, progress)).await?;
            return Ok(plan.into());
        }
        Ok(backup::run(&asked.config, progress, work.cancel.clone()).await.into())
    }
}
