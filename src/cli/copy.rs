//! Options of `savepoint copy`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    selection::{DatabaseArgs, OfKindArgs, PickArgs},
};
use clap::Args;

/// Options of `savepoint copy`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct CopyArgs {
    /// What is copied: latest (without it), oldest, all, an id, or the address of a stored backup
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    /// Where it is to lie as well: as --destination. Example: s3://second/app?region=eu-west-1&keys=SECOND
    #[arg(long, value_name = "DEST")]
    pub to: Vec<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for CopyArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        CopyArgs {
            which: None,
            to: inputs.target.to.iter().map(|to| to.expose().to_owned()).collect(),
            pick: inputs.pick,
            of_kind: inputs.kind.into(),
            database: inputs.database,
            destination: inputs.destination,
            engine: inputs.engine,
            notify: inputs.notify,
            dry: inputs.dry,
            output: inputs.output,
        }
    }
}
