//! How the result is shown, and whether anything is done at all.

use super::text::Flag as _;
use clap::Args;

/// How the result is shown.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print one JSON object in place of the table
    #[arg(long, flag())]
    pub json: String,
    /// No progress and no notices, only warnings and the result
    #[arg(long, flag())]
    pub quiet: String,
    /// What is said while working, on standard error: text, or a JSON object a line.
    #[arg(long, value_name = "text|json", default_value = "text")]
    pub log_format: String,
    /// Say more while working
    #[arg(long, short = 'v', flag())]
    pub verbose: String,
    /// How long all of it may take, with cleaning up and telling; without it, as long as it takes. Example: 2h
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,

    /// Set by `parse`: this is the action, and relative folders begin at the workflow's workspace.
    #[arg(skip)]
    pub in_action: bool,
}

/// Whether anything is done at all.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct DryRunArgs {
    /// Print what would be done, and do nothing
    #[arg(long, flag())]
    pub dry_run: String,
}
