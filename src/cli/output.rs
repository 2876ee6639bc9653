//! How the result is shown, and whether anything is done at all.

use clap::Args;

/// How the result is shown.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// Print one JSON object in place of the table
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub json: String,
    /// No progress and no notices, only warnings and the result
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub quiet: String,
    /// Say more while working
    #[arg(long, short = 'v', value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub verbose: String,

    /// Set by `parse`: this is the action, and relative folders begin at the workflow's workspace.
    #[arg(skip)]
    pub in_action: bool,
}

/// Whether anything is done at all.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct DryRunArgs {
    /// Print what would be done, and do nothing
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "false",
        default_missing_value = "true")]
    pub dry_run: String,
}
