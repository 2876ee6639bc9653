//! Options of `savepoint validate`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs,
    against::AgainstArgs,
    destination::DestinationArgs,
    encrypt::IdentityArgs,
    engine::EngineArgs,
    notify::NotifyArgs,
    output::OutputArgs,
    selection::{DatabaseArgs, OfKindArgs, PickArgs},
    sign::VerifyKeyArgs,
    source::SourceArgs,
};
use clap::Args;

/// What stands below its help.
pub(super) const AFTER_HELP: &str = "BACKUP is an id, latest, oldest, or a backup's address: the one from before the migration.\n\n\
    savepoint validate --against \"$BACKUP_ID\" --max-drop 10 --check-sql checks.sql\n\n\
    Each option can also be set by a variable: SAVEPOINT_ and its name in upper case, hyphens as underscores.\n\n\
    Exit codes: 0 nothing is missing; 1 could not be looked at; 2 wrong usage; 3 something is not as it should be.";

/// Options of `savepoint validate`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ValidateArgs {
    /// Which backup: an id, latest, oldest or an address
    #[arg(value_name = "BACKUP")]
    pub which: Option<String>,
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub against: AgainstArgs,
    /// Fail when a table lost more than this many percent of its rows
    #[arg(long, value_name = "PERCENT", default_value = "50", help_heading = "Validation")]
    pub max_drop: String,
    /// File of queries for the database; one that returns a row, or an error, fails the validation. Example: ./checks.sql
    #[arg(long, value_name = "FILE", help_heading = "Validation")]
    pub check_sql: Option<String>,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub of_kind: OfKindArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub identity: IdentityArgs,
    #[command(flatten)]
    pub verify_key: VerifyKeyArgs,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub notify: NotifyArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for ValidateArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        ValidateArgs {
            which: None,
            source: inputs.source,
            against: inputs.against,
            max_drop: inputs.anomaly.max_drop,
            check_sql: inputs.drill.check_sql,
            pick: inputs.pick,
            of_kind: inputs.kind.into(),
            database: inputs.database,
            destination: inputs.destination,
            identity: inputs.identity,
            verify_key: inputs.verify_key,
            engine: inputs.engine,
            notify: inputs.notify,
            output: inputs.output,
        }
    }
}
