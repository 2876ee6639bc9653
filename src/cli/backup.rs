//! Options of `savepoint backup`, as given: absent where there is no fixed default.

use super::{
    anomaly::AnomalyArgs,
    destination::DestinationArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    part::{ExcludeArgs, PartArgs},
    policy::PolicyArgs,
    proof::{LevelArgs, ServerArgs},
    source::SourceArgs,
    take::{KindArgs, TakeArgs},
};
use clap::Args;

/// Options of `savepoint backup`, as given: absent where there is no fixed default.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct BackupArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub kind: KindArgs,
    #[command(flatten)]
    pub take: TakeArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub anomaly: AnomalyArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub level: LevelArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}
