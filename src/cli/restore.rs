//! Options of `savepoint restore`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    part::PartArgs,
    proof::LevelArgs,
    selection::{DatabaseArgs, OfKindArgs, PickArgs},
    target::TargetArgs,
};
use clap::Args;

/// Options of `savepoint restore`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct RestoreArgs {
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
    pub part: PartArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub level: LevelArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for RestoreArgs {
    fn from(action: &ActionArgs) -> Self {
        let b = action.check.backup.clone();
        RestoreArgs {
            which: None,
            pick: action.pick.clone(),
            of_kind: action.of_kind(),
            database: action.database(),
            part: b.part,
            target: action.target.clone(),
            destination: b.destination,
            engine: b.engine,
            level: b.level,
            notify: b.notify,
            dry: b.dry,
            output: b.output,
        }
    }
}
