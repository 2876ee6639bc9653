//! `savepoint check`.

use super::{action::ActionArgs, backup::BackupArgs, post::PostArgs};
use clap::Args;

/// Options of `savepoint check`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub post: PostArgs,
    #[command(flatten)]
    pub backup: BackupArgs,
}

impl From<&ActionArgs> for CheckArgs {
    fn from(inputs: &ActionArgs) -> Self {
        CheckArgs { post: inputs.post.clone(), backup: inputs.into() }
    }
}
