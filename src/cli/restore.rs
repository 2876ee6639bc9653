//! Options of `savepoint restore`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    encrypt::IdentityArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::{DryRunArgs, OutputArgs},
    part::PartArgs,
    proof::LevelArgs,
    selection::{DatabaseArgs, OfKindArgs, PickArgs, TrustArgs},
    sign::{SignArgs, VerifyKeyArgs},
    target::TargetArgs,
};
use clap::Args;

/// What stands below its help.
pub(super) const AFTER_HELP: &str = "BACKUP is an id, latest (the default), oldest, a backup's address (s3://bucket/prefix/app/2026/11/22/ID or its \
    folder), or a file that pg_dump wrote (plain, gzip or zstd, custom, tar or directory format).\n\
    Without --create, --swap or --clean the target database must be empty or missing.\n\n\
    savepoint restore latest --create app_restored   # beside what is there\n\
    savepoint restore latest --swap                  # in its place; what was there is kept\n\n\
    Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as underscores.\n\n\
    Exit codes: 0 restored and equal; 1 failed, the target's data untouched; 2 wrong usage; 3 restored, but not equal.";

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
    pub trust: TrustArgs,
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
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub sign: SignArgs,
    #[command(flatten)]
    pub verify_key: VerifyKeyArgs,
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
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        RestoreArgs {
            which: None,
            pick: inputs.pick,
            trust: inputs.trust,
            of_kind: inputs.kind.into(),
            database: inputs.database,
            part: inputs.part,
            target: inputs.target,
            destination: inputs.destination,
            identity: inputs.identity,
            sign: inputs.sign,
            verify_key: inputs.verify_key,
            engine: inputs.engine,
            level: inputs.level,
            notify: inputs.notify,
            dry: inputs.dry,
            output: inputs.output,
        }
    }
}
