//! Options of `savepoint diff`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    encrypt::IdentityArgs,
    output::OutputArgs,
    selection::{DatabaseArgs, OfKindArgs, PickArgs, WithArgs},
    sign::VerifyKeyArgs,
};
use clap::Args;

/// Options of `savepoint diff`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct DiffArgs {
    /// The one backup: an id, latest, oldest or an address
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    /// The other one
    #[arg(value_name = "OTHER")]
    pub other: Option<String>,
    #[command(flatten)]
    pub with: WithArgs,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub verify_key: VerifyKeyArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for DiffArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        DiffArgs {
            which: None,
            other: None,
            with: inputs.with,
            pick: inputs.pick,
            of_kind: inputs.kind.into(),
            database: inputs.database,
            destination: inputs.destination,
            identity: inputs.identity,
            verify_key: inputs.verify_key,
            output: inputs.output,
        }
    }
}
