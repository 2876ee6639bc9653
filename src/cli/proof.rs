//! How much is proven, and where.

use super::text::secret;
use crate::secret::Secret;
use clap::Args;

/// How much is proven.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Proof")]
pub struct LevelArgs {
    /// What to prove: every row's content, row counts, the stored files, or nothing
    #[arg(long, value_name = "content|rows|archive|none", default_value = "content")]
    pub verify: String,
}

/// Where it is proven.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Proof")]
pub struct ServerArgs {
    /// Server for the throwaway database, in place of the built-in one. Example:
    /// postgresql://postgres:password@postgis/postgres
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub verify_url: Option<Secret>,
}
