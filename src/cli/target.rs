//! Where and how a backup is restored.

use super::text::{Flag as _, secret};
use crate::secret::Secret;
use clap::Args;

/// Where and how a backup is restored.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Restore")]
pub struct TargetArgs {
    /// The database to restore into: a libpq URI or keyword string. Better set by SAVEPOINT_TO. Example:
    /// postgresql://user:password@host/app
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub to: Option<Secret>,
    /// Restore into a new database of this name on the target's server. Example: app_restored
    #[arg(long, value_name = "NAME")]
    pub create: Option<String>,
    /// Restore into a new database, then rename the target aside and the new one into its place
    #[arg(long, flag())]
    pub swap: String,
    /// Empty the target database first, after a backup of it; needs --confirm
    #[arg(long, flag())]
    pub clean: String,
    /// The target database's name, typed once more for --clean and protected targets. Example: app
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Take no backup of the target before --clean
    #[arg(long, flag())]
    pub no_safety_backup: String,
    /// Targets whose host or name holds one of these words always need --confirm; * and ? as in a shell
    #[arg(long, value_name = "PATTERNS", default_value = "prod,production")]
    pub protect: String,
    /// Restore rows only, into tables that are there and empty
    #[arg(long, flag())]
    pub data_only: String,
    /// Let everything belong to the user of the target, and skip grants
    #[arg(long, flag())]
    pub no_owner: String,
    /// Create the roles that the backup names and the target lacks; they cannot log in
    #[arg(long, flag())]
    pub create_roles: String,
    /// Give a database that was there the settings, grants and comment that the source had, as a new one gets them
    #[arg(long, flag())]
    pub database_properties: String,
    /// Restore even a backup whose proof failed or is missing, or that has no manifest
    #[arg(long, flag())]
    pub force_unproven: String,
}
