//! Options of `savepoint report`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs, destination::DestinationArgs, output::OutputArgs, policy::PolicyArgs, present::PresentArgs,
    selection::DatabaseArgs,
};
use clap::Args;

/// Options of `savepoint report`.
#[allow(missing_docs, reason = "the groups say what they are")]
#[derive(Clone, Debug, Default, Args)]
pub struct ReportArgs {
    /// Folder or destination that it is written into, as index.html, savepoint.json, savepoint.prom or savepoint.txt; without it, standard
    /// output. Example: ./public
    #[arg(long, value_name = "DIR|DEST")]
    pub to: Option<String>,
    #[command(flatten)]
    pub present: PresentArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
    #[command(flatten)]
    pub policy: PolicyArgs,
    #[command(flatten)]
    pub destination: DestinationArgs,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl From<&ActionArgs> for ReportArgs {
    fn from(inputs: &ActionArgs) -> Self {
        let inputs = inputs.clone();
        ReportArgs {
            to: inputs.target.to.map(|to| to.expose().to_owned()),
            present: inputs.present,
            database: inputs.database,
            policy: inputs.policy,
            destination: inputs.destination,
            output: inputs.output,
        }
    }
}
