//! Whether a check posts.

use super::text::Flag as _;
use clap::Args;

/// Whether a check posts.
#[derive(Clone, Debug, Default, Args)]
pub struct PostArgs {
    /// Post a test message to Slack; without it, only whether the webhook answers is asked
    #[arg(long, flag())]
    pub post: String,
}
