//! What is remarkable about a backup beside the one before.

use super::text::Flag as _;
use clap::Args;

/// What is remarkable about a backup beside the one before.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Anomalies")]
pub struct AnomalyArgs {
    /// Warn when a table lost more than this many percent of its rows, or the whole backup of its size, since the backup before
    #[arg(long, value_name = "PERCENT", default_value = "50")]
    pub max_drop: String,
    /// Warn when the backup's size grew by more than this many percent
    #[arg(long, value_name = "PERCENT", default_value = "300")]
    pub max_growth: String,
    /// Exit with 4 when a proven backup differs so much from the one before, and so does each one behind it, until a run without this takes it as it is
    #[arg(long, flag())]
    pub fail_on_anomaly: String,
    /// Let a backup of a database without any table succeed
    #[arg(long, flag())]
    pub allow_empty: String,
}
