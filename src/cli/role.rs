//! The role that backups are taken as.

use clap::Args;

/// The role that backups are taken as.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Role")]
pub struct RoleArgs {
    /// Name of the role that is to take the backups. Example: backup
    #[arg(long, value_name = "NAME", default_value = "savepoint")]
    pub role: String,
}
