//! Which backups stay.

use super::text::Flag as _;
use clap::Args;

/// Which backups stay.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Retention")]
pub struct PolicyArgs {
    /// Keep the newest N of each kind. Example: 10
    #[arg(long, value_name = "N")]
    pub keep_last: Option<String>,
    /// Keep the newest of each of the last N days that have one. Example: 7
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<String>,
    /// Keep the newest of each of the last N weeks that have one. Example: 5
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<String>,
    /// Keep the newest of each of the last N months that have one. Example: 12
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<String>,
    /// Keep the newest of each of the last N years that have one. Example: 3
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<String>,
    /// Keep all that are at most this much older than the newest one. Without any rule: scheduled 30d, snapshot 90d, pre-restore 7d,
    /// manual for ever. Example: 1y6m
    #[arg(long, value_name = "DURATION")]
    pub keep_within: Option<String>,
    /// Always keep this many of each kind
    #[arg(long, value_name = "N", default_value = "3")]
    pub min_keep: String,
    /// Delete even more than half of the backups
    #[arg(long, flag())]
    pub confirm_large: String,
}
