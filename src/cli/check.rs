//! Options of `savepoint check`, as given: absent where there is no fixed default.

use super::backup::BackupArgs;
use clap::Args;

/// Options of `savepoint check`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    /// Post a test message to Slack; without it, only whether the webhook answers is asked
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub post: String,
    #[command(flatten)]
    pub backup: BackupArgs,
}
