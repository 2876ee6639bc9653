//! Options of `savepoint verify`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    drill::DrillArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::OutputArgs,
    proof::{LevelArgs, ServerArgs},
    selection::{DatabaseArgs, OfKindArgs, PickArgs},
};
use clap::Args;

/// Options of `savepoint verify`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct VerifyArgs {
    /// Which backup: an id, latest, oldest, all, an address or a file
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub drill: DrillArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub level: LevelArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for VerifyArgs {
    fn from(action: &ActionArgs) -> Self {
        let b = action.check.backup.clone();
        VerifyArgs {
            which: None,
            pick: action.pick.clone(),
            of_kind: action.of_kind(),
            database: action.database(),
            drill: action.drill.clone(),
            destination: b.destination,
            engine: b.engine,
            level: b.level,
            server: b.server,
            notify: b.notify,
            output: b.output,
        }
    }
}
