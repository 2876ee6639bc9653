//! How much is proven, and where.

use super::text::{Flag as _, secret};
use crate::secret::Secret;
use clap::Args;

/// How much is proven.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Proof")]
pub struct LevelArgs {
    /// What to prove: every row's content, row counts, the stored files, what was sent (by a key that may only put), or nothing
    #[arg(long, value_name = "content|rows|archive|sent|none", default_value = "content")]
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
    /// Refuse to start the built-in server where this machine cannot lock it in (Landlock and seccomp)
    #[arg(long, flag())]
    pub require_sandbox: String,
    /// What the built-in server may use up: cpu=DURATION, memory=SIZE, disk=SIZE, time=DURATION, or none; a file of anybody's has
    /// limits without it. Example: time=2h,memory=4GiB,disk=20GiB
    #[arg(long, value_name = "LIMITS")]
    pub drill_limits: Option<String>,
}
