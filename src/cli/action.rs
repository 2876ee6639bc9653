//! `savepoint action`: the options of all verbs. Each verb takes what is its own from them.

use super::{
    against::AgainstArgs,
    anomaly::AnomalyArgs,
    copies::CopiesArgs,
    destination::DestinationArgs,
    drill::DrillArgs,
    encrypt::{EncryptArgs, IdentityArgs},
    engine::EngineArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    part::{ExcludeArgs, PartArgs},
    policy::PolicyArgs,
    post::PostArgs,
    present::PresentArgs,
    proof::{LevelArgs, ServerArgs},
    rehearse::RehearseArgs,
    role::RoleArgs,
    selection::{AgeArgs, DatabaseArgs, PickArgs, TrustArgs, WithArgs},
    sign::{SignArgs, VerifyKeyArgs},
    source::SourceArgs,
    take::{KindArgs, TakeArgs},
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
    pub post: PostArgs,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub part: PartArgs,
    #[command(flatten)]
    pub exclude: ExcludeArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub copies: CopiesArgs,
    #[command(flatten)]
    pub kind: KindArgs,
    #[command(flatten)]
    pub take: TakeArgs,
    #[command(flatten)]
    pub encrypt: EncryptArgs,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub verify_key: VerifyKeyArgs,
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
    pub rehearse: RehearseArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub dry: DryRunArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub trust: TrustArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub present: PresentArgs,
    #[command(flatten)]
    pub drill: DrillArgs,
    #[command(flatten)]
    pub against: AgainstArgs,
    #[command(flatten)]
    pub age: AgeArgs,
    #[command(flatten)]
    pub with: WithArgs,
    #[command(flatten)]
    pub role: RoleArgs,
}
