//! What a restore drill asks beside the proof.

use clap::Args;

/// What a restore drill asks beside the proof.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Drill")]
pub struct DrillArgs {
    /// File of queries for the restored copy; one that returns a row, or an error, fails the drill. Example: ./checks.sql
    #[arg(long, value_name = "FILE")]
    pub check_sql: Option<String>,
    /// Fail when the restore takes longer. Example: 15m
    #[arg(long, value_name = "DURATION")]
    pub max_rto: Option<String>,
    /// Fail when the backup is older. Example: 26h
    #[arg(long, value_name = "DURATION")]
    pub max_age: Option<String>,
}
