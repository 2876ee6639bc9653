//! Options of `savepoint check`, as given: absent where there is no fixed default.

use super::{backup::BackupArgs, text::Flag as _};
use clap::Args;

/// Options of `savepoint check`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Post a test message to Slack; without it, only whether the webhook answers is asked
    #[arg(long, flag())]
    pub post: String,
    #[command(flatten)]
    pub backup: BackupArgs,
}
