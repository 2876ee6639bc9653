//! Options of `savepoint show`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    output::OutputArgs,
    selection::{DatabaseArgs, OfKindArgs, PickArgs},
    sign::VerifyKeyArgs,
};
use clap::Args;

/// Options of `savepoint show`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ShowArgs {
    /// Which backup: an id, latest, oldest, an address or a file
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub verify_key: VerifyKeyArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for ShowArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        ShowArgs {
            which: None,
            pick: inputs.pick,
            of_kind: inputs.kind.into(),
            database: inputs.database,
            destination: inputs.destination,
            verify_key: inputs.verify_key,
            output: inputs.output,
        }
    }
}
