//! Options of `savepoint verify`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    destination::DestinationArgs,
    drill::DrillArgs,
    encrypt::IdentityArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::OutputArgs,
    proof::{LevelArgs, ServerArgs},
    rehearse::RehearseArgs,
    selection::{DatabaseArgs, OfKindArgs, PickArgs, TrustArgs},
    sign::{SignArgs, VerifyKeyArgs},
};
use clap::Args;

/// What stands below its help.
pub(super) const AFTER_HELP: &str = "BACKUP is an id, latest (the default), oldest, all, a backup's address, or a file that pg_dump wrote.\n\n\
    savepoint verify latest --check-sql checks.sql --max-rto 15m --max-age 26h\n\
    savepoint verify ./app.dump\n\n\
    Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as underscores.\n\n\
    Exit codes: 0 proven; 1 could not be tried; 2 wrong usage; 3 not proven: it differs, a check failed, or a limit was passed.";

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
    pub trust: TrustArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub drill: DrillArgs,
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
    pub server: ServerArgs,
    #[command(flatten)]
    pub rehearse: RehearseArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for VerifyArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        VerifyArgs {
            which: None,
            pick: inputs.pick,
            trust: inputs.trust,
            of_kind: inputs.kind.into(),
            database: inputs.database,
            drill: inputs.drill,
            destination: inputs.destination,
            identity: inputs.identity,
            sign: inputs.sign,
            verify_key: inputs.verify_key,
            engine: inputs.engine,
            level: inputs.level,
            server: inputs.server,
            rehearse: inputs.rehearse,
            notify: inputs.notify,
            output: inputs.output,
        }
    }
}
