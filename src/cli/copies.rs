//! How a backup in several places is taken.

use super::text::Flag as _;
use clap::Args;

/// How a backup in several places is taken.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Destination")]
pub struct CopiesArgs {
    /// How many of several destinations must take the backup and hold a good copy; with fewer the run fails, with enough of them but not
    /// all it ends with exit code 4. Example: all
    #[arg(long, value_name = "any|all|NUMBER", default_value = "any")]
    pub require: String,
    /// Prove each of several destinations by a restore of its own; without it the first is restored, and of the others every byte is
    /// read back
    #[arg(long, flag())]
    pub verify_all: String,
}
