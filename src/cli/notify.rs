//! Who is told.

use super::text::secret;
use crate::secret::Secret;
use clap::Args;

/// Who is told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Notification")]
pub struct NotifyArgs {
    /// Slack incoming webhook to tell. Better set by SAVEPOINT_SLACK_WEBHOOK_URL. Example:
    /// https://hooks.slack.com/services/…
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub slack_webhook_url: Option<Secret>,
    /// Which runs Slack is told of
    #[arg(long, value_name = "always|failure|success", default_value = "always")]
    pub notify_on: String,
    /// Ping URL of a check at healthchecks.io or its kin: told at start (/start), success and failure (/fail). Better set by
    /// SAVEPOINT_HEARTBEAT_URL. Example: https://hc-ping.com/uuid
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub heartbeat_url: Option<Secret>,
}
