//! What is rehearsed on the proven copy.

use clap::Args;

/// What is rehearsed on the proven copy.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Rehearsal")]
pub struct RehearseArgs {
    /// Command to run on the proven copy before the source sees it, with DATABASE_URL set to the copy. Example: npx prisma migrate deploy
    #[arg(long, value_name = "COMMAND")]
    pub rehearse: Option<String>,
    /// Role that it comes in as, one that the backup names; without it the source's user, else the database's owner. Example: app_owner
    #[arg(long, value_name = "ROLE")]
    pub rehearse_role: Option<String>,
    /// How long the command may take
    #[arg(long, value_name = "DURATION", default_value = "30m")]
    pub rehearse_timeout: String,
    /// File of queries for the copy behind it; one that returns a row, or an error, fails the rehearsal. Example: ./checks.sql
    #[arg(long, value_name = "FILE")]
    pub rehearse_check_sql: Option<String>,
    /// Fail when it holds a lock for longer that keeps writers or readers out of a table. Example: 500ms
    #[arg(long, value_name = "DURATION")]
    pub rehearse_max_lock: Option<String>,
    /// Fail when a table loses more than this many percent of its rows
    #[arg(long, value_name = "PERCENT", default_value = "50")]
    pub rehearse_max_drop: String,
    /// Fail when it does one of these: drop-table, drop-column, rewrite, or rewrite of a larger table only. Example: drop-table,rewrite:10GB
    #[arg(long, value_name = "LIST")]
    pub rehearse_forbid: Vec<String>,
}
