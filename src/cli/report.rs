//! Options of `savepoint report`, as given: absent where there is no fixed default.

use super::{
    action::ActionArgs, destination::DestinationArgs, output::OutputArgs, policy::PolicyArgs, selection::DatabaseArgs,
};
use clap::Args;

/// What is reported, and how.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Report")]
pub struct PresentArgs {
    /// What it is written as: a page, an object, or metrics for Prometheus
    #[arg(long, value_name = "html|json|prometheus|openmetrics", default_value = "html")]
    pub format: String,
    /// Goal: how old the newest proven backup may be, so how much may be lost. Example: 26h
    #[arg(long, value_name = "DURATION")]
    pub rpo: Option<String>,
    /// Goal: how long a restore may take. Example: 1h
    #[arg(long, value_name = "DURATION")]
    pub rto: Option<String>,
    /// What a GiB costs for a month, for an estimate of what is stored. Example: 0.023 USD
    #[arg(long, value_name = "PRICE")]
    pub price_per_gib: Option<String>,
}

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
