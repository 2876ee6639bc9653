//! The database that is read.

use super::text::secret;
use crate::secret::Secret;
use clap::Args;

/// The database that is read.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// Database to back up: a libpq URI or keyword string. Better set by SAVEPOINT_DATABASE_URL or DATABASE_URL; the PG*
    /// variables serve too. Example: postgresql://user:password@host/app
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub database_url: Option<Secret>,
}
