//! What a database is held against.

use clap::Args;

/// What the database is held against.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Validation")]
pub struct AgainstArgs {
    /// The same as BACKUP: the one from before the migration
    #[arg(long, value_name = "BACKUP")]
    pub against: Option<String>,
    /// Tables that may lose rows, be empty or gone; * stands for anything. Example: public.sessions,audit.*
    #[arg(long, value_name = "TABLES")]
    pub allow_loss: Vec<String>,
}
