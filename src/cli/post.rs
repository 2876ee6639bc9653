//! Whether a check posts.

use super::text::Flag as _;
use clap::Args;

/// Whether a check posts.
#[derive(Clone, Debug, Default, Args)]
pub struct PostArgs {
    /// Post a test message to each channel; without it, only Slack and the mail server are asked whether they would take one
    #[arg(long, flag())]
    pub post: String,
}
