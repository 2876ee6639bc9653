//! Options of `savepoint backup`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    anomaly::AnomalyArgs,
    copies::CopiesArgs,
    destination::DestinationArgs,
    encrypt::EncryptArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    part::{ExcludeArgs, PartArgs},
    policy::PolicyArgs,
    proof::{LevelArgs, ServerArgs},
    rehearse::RehearseArgs,
    sign::SignArgs,
    source::SourceArgs,
    take::{KindArgs, TakeArgs},
};
use clap::Args;

/// What stands below its help.
pub(super) const AFTER_HELP: &str = "Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as \
    underscores (SAVEPOINT_S3_ENDPOINT). An empty variable counts as not set.\n\
    List options may be repeated, and take commas or line breaks; a comma inside double quotes is kept.\n\n\
    Exit codes: 0 stored and proven; 1 failed, nothing stored; 2 wrong usage; 3 stored, but its proof failed; 4 stored and \
    proven, but pruning failed, one of several destinations holds no good copy, or an anomaly was found and --fail-on-anomaly is set.";

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
    pub copies: CopiesArgs,
    #[command(flatten)]
    pub kind: KindArgs,
    #[command(flatten)]
    pub take: TakeArgs,
    #[command(flatten)]
    pub encrypt: EncryptArgs,
    #[command(flatten)]
    pub sign: SignArgs,
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
}

impl From<&ActionArgs> for BackupArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        BackupArgs {
            source: inputs.source,
            part: inputs.part,
            exclude: inputs.exclude,
            destination: inputs.destination,
            copies: inputs.copies,
            kind: inputs.kind,
            take: inputs.take,
            encrypt: inputs.encrypt,
            sign: inputs.sign,
            policy: inputs.policy,
            anomaly: inputs.anomaly,
            engine: inputs.engine,
            level: inputs.level,
            server: inputs.server,
            rehearse: inputs.rehearse,
            notify: inputs.notify,
            dry: inputs.dry,
            output: inputs.output,
        }
    }
}
