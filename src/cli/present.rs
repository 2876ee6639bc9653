//! What is reported, and how.

use super::text::Flag as _;
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
    /// End with exit code 4 unless every database is as it should be: proven, within the goals, its last run good
    #[arg(long, flag())]
    pub require_good: String,
    /// What a GiB costs for a month, for an estimate of what is stored. Example: 0.023 USD
    #[arg(long, value_name = "PRICE")]
    pub price_per_gib: Option<String>,
}
