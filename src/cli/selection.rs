//! Which stored backups are meant.

use super::{take::KindArgs, text::Flag as _};
use crate::secret::Secret;
use clap::Args;

/// Which kind of stored backup is meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct OfKindArgs {
    /// Only backups of this kind
    #[arg(long, value_name = "snapshot|scheduled|manual|pre-restore")]
    pub kind: Option<String>,
}

/// The action has one input for both.
impl From<KindArgs> for OfKindArgs {
    fn from(KindArgs { kind }: KindArgs) -> Self {
        OfKindArgs { kind }
    }
}

/// Which database's backups are meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct DatabaseArgs {
    /// Only backups of this database. Without it, list, prune and report take all, the others that of DATABASE_URL, or the only one there
    /// is. Example: app
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,

    /// Set by `parse`: the action's `database-url`, which names a database too.
    #[arg(skip)]
    pub of_url: Option<Secret>,
}

/// Which stored backup is meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct PickArgs {
    /// The same as BACKUP
    #[arg(long, value_name = "BACKUP")]
    pub backup: Option<String>,
    /// Only backups taken before this moment, in UTC. Example: 2026-11-22T03:00
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
}

/// Whether a file is trusted.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct TrustArgs {
    /// Restore a file also when it runs programs, touches the server's files or loads code
    #[arg(long, flag())]
    pub trust_file: String,
}

/// The other side of a comparison.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct WithArgs {
    /// The same as OTHER
    #[arg(long, value_name = "BACKUP")]
    pub compare_with: Option<String>,
}

/// Which backups a list shows.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct AgeArgs {
    /// Only backups younger than this. Example: 7d
    #[arg(long, value_name = "DURATION")]
    pub newer_than: Option<String>,
    /// Only backups older than this. Example: 30d
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<String>,
    /// Only backups whose last proof passed, failed, or that have none
    #[arg(long, value_name = "passed|failed|none")]
    pub proof: Option<String>,
}
