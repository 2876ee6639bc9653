//! Options of `savepoint prune`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    policy::PolicyArgs,
    selection::{DatabaseArgs, OfKindArgs},
    sign::VerifyKeyArgs,
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
    pub verify_key: VerifyKeyArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for PruneArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        PruneArgs {
            of_kind: inputs.kind.into(),
            database: inputs.database,
            policy: inputs.policy,
            destination: inputs.destination,
            verify_key: inputs.verify_key,
            notify: inputs.notify,
            dry: inputs.dry,
            output: inputs.output,
        }
    }
}
