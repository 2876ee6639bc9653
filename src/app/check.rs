//! `savepoint check`.

use super::verb::{Env, Verb, Work, unless_interrupted};
use crate::{
    backup::BackupConfig,
    cli::{CheckArgs, OutputArgs},
    config::{self, Validated},
    error::Result,
    postgres::conninfo::Target,
    preflight,
    report::{Checks, Report},
};
use tokio_util::task::TaskTracker;

/// Asks what a backup asks first, and those who would be told of it.
pub(super) struct Check;

/// What it needs.
pub(super) struct Asked {
    config: BackupConfig,
    /// Whether channels are asked by a message.
    post: bool,
}

impl Verb for Check {
    type Raw = CheckArgs;
    type Config = Asked;

    fn output(raw: &CheckArgs) -> &OutputArgs {
        &raw.backup.output
    }

    fn config(raw: &CheckArgs, env: Env<'_>) -> Result<Validated<Asked>> {
        let post = config::flag("post", &raw.post.post)?;
        Ok(config::backup(&raw.backup, env)?.map(|config| Asked { config, post }))
    }

    fn targets(asked: &Asked) -> Vec<&Target> {
        asked.config.targets()
    }

    async fn run(asked: &Asked, work: &Work) -> Result<Report> {
        let tasks = TaskTracker::new();
        let asking = async {
            let mut checks = preflight::run(&asked.config, work.progress.clone(), &tasks).await;
            checks.extend(work.channels.check(asked.post, &asked.config.source.dbname).await);
            Ok(checks)
        };
        let checks = unless_interrupted(&work.cancel, asking).await;
        tasks.close();
        // What it tries the destination with is removed by it.
        let _ = tokio::time::timeout(work.cancel.clean_up(), tasks.wait()).await;
        Ok(Report::Checks(Checks(checks?)))
    }
}
