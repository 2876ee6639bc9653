//! Options of `savepoint list`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    output::OutputArgs,
    selection::{AgeArgs, DatabaseArgs, OfKindArgs},
};
use clap::Args;

/// Options of `savepoint list`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub age: AgeArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for ListArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        ListArgs {
            of_kind: inputs.kind.into(),
            database: inputs.database,
            age: inputs.age,
            destination: inputs.destination,
            output: inputs.output,
        }
    }
}
