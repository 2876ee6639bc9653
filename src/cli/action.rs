//! Inputs of the GitHub action.

use super::{
    backup::BackupArgs,
    check::CheckArgs,
    drill::DrillArgs,
    selection::{AgeArgs, DatabaseArgs, OfKindArgs, PickArgs, WithArgs},
    target::TargetArgs,
};
use clap::Args;

/// Inputs of the GitHub action.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ActionArgs {
    /// What to do
    #[arg(long, value_name = "COMMAND", default_value = "backup")]
    pub command: String,
    #[command(flatten)]
    pub check: CheckArgs,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub drill: DrillArgs,
    #[command(flatten)]
    pub age: AgeArgs,
    #[command(flatten)]
    pub with: WithArgs,
}

impl ActionArgs {
    /// Which database is meant; the `database-url` names one too.
    pub(super) fn database(&self) -> DatabaseArgs {
        DatabaseArgs { of_url: self.check.backup.source.database_url.clone(), ..self.database.clone() }
    }

    /// Which kind of stored backup is meant.
    pub(super) fn of_kind(&self) -> OfKindArgs {
        OfKindArgs { kind: self.check.backup.kind.kind.clone() }
    }
}

impl From<&ActionArgs> for BackupArgs {
    fn from(action: &ActionArgs) -> Self {
        action.check.backup.clone()
    }
}

impl From<&ActionArgs> for CheckArgs {
    fn from(action: &ActionArgs) -> Self {
        action.check.clone()
    }
}
