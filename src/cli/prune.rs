//! Options of `savepoint prune`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    policy::PolicyArgs,
    selection::{DatabaseArgs, OfKindArgs},
};
use clap::Args;

/// Options of `savepoint prune`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct PruneArgs {
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for PruneArgs {
    fn from(action: &ActionArgs) -> Self {
        let b = action.check.backup.clone();
        PruneArgs {
            of_kind: action.of_kind(),
            database: action.database(),
            policy: b.policy,
            destination: b.destination,
            notify: b.notify,
            dry: b.dry,
            output: b.output,
        }
    }
}
