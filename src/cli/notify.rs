//! Who is told.

use super::text::secret;
use crate::secret::Secret;
use clap::Args;

/// Who is told.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Notification")]
pub struct NotifyArgs {
    /// Slack webhook to tell: an incoming one, or one that a workflow begins with. Better set by SAVEPOINT_SLACK_WEBHOOK_URL. Example:
    /// https://hooks.slack.com/services/…
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub slack_webhook_url: Option<Secret>,
    /// Which backups people are told of: each, those that failed and the first good one behind them, those that did not fail, or those that
    /// ended otherwise than the one before. A heartbeat and its like are told of each
    #[arg(long, value_name = "always|failure|success|change", default_value = "always")]
    pub notify_on: String,
    /// Mail server that takes the mail: TLS from the first byte (smtps://), or by STARTTLS (smtp://). Better set by
    /// SAVEPOINT_SMTP_URL. Example: smtps://user:password@smtp.example.com:465
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub smtp_url: Option<Secret>,
    /// Who gets mail, with commas or one a line. Example: ops@example.com
    #[arg(long, value_name = "ADDRESSES")]
    pub mail_to: Vec<String>,
    /// Whom mail is from; without it the user of smtp-url. Example: Backups <backups@example.com>
    #[arg(long, value_name = "ADDRESS")]
    pub mail_from: Option<String>,
    /// Webhook of a Discord channel to tell. Better set by SAVEPOINT_DISCORD_WEBHOOK_URL. Example:
    /// https://discord.com/api/webhooks/…
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub discord_webhook_url: Option<Secret>,
    /// Webhook of a Microsoft Teams workflow to tell. Better set by SAVEPOINT_TEAMS_WEBHOOK_URL. Example:
    /// https://prod-00.westeurope.logic.azure.com/workflows/…
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub teams_webhook_url: Option<Secret>,
    /// Token of the Telegram bot that writes to telegram-chat-id. Better set by SAVEPOINT_TELEGRAM_BOT_TOKEN
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub telegram_bot_token: Option<Secret>,
    /// Telegram chat to tell: its number, or the name of a public channel. Example: @backups
    #[arg(long, value_name = "CHAT", allow_hyphen_values = true)]
    pub telegram_chat_id: Option<String>,
    /// Bot API server in place of Telegram's own. Example: https://api.telegram.org
    #[arg(long, value_name = "URL")]
    pub telegram_api_url: Option<String>,
    /// ntfy topic to tell. Better set by SAVEPOINT_NTFY_URL. Example: https://ntfy.sh/topic
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub ntfy_url: Option<Secret>,
    /// Access token of the ntfy server. Better set by SAVEPOINT_NTFY_TOKEN
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub ntfy_token: Option<Secret>,
    /// Web address that gets the report as JSON (what --json prints). Better set by SAVEPOINT_WEBHOOK_URL. Example:
    /// https://example.com/hooks/backups
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub webhook_url: Option<Secret>,
    /// Key that signs what webhook-url gets: HMAC-SHA256 in the header X-Savepoint-Signature-256. Better set by
    /// SAVEPOINT_WEBHOOK_SECRET
    #[arg(long, value_name = "KEY", value_parser = secret, allow_hyphen_values = true)]
    pub webhook_secret: Option<Secret>,
    /// Where in GitHub the report is shown as well: pr, a comment that is written anew by each run; check, a check run of the commit
    #[arg(long, value_name = "pr,check")]
    pub report_to: Vec<String>,
    /// Token for report-to. Better set by SAVEPOINT_GITHUB_TOKEN. Example: ${{ github.token }}
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub github_token: Option<Secret>,
    /// Ping URL of a check at healthchecks.io or its kin: told at start (/start), success and failure (/fail). Better set by
    /// SAVEPOINT_HEARTBEAT_URL. Example: https://hc-ping.com/uuid
    #[arg(long, value_name = "URL", value_parser = secret)]
    pub heartbeat_url: Option<Secret>,
}

impl NotifyArgs {
    /// What nobody may read, by the names of the options.
    pub fn secrets(&self) -> [(&'static str, &Option<Secret>); 11] {
        [
            ("slack-webhook-url", &self.slack_webhook_url),
            ("smtp-url", &self.smtp_url),
            ("discord-webhook-url", &self.discord_webhook_url),
            ("teams-webhook-url", &self.teams_webhook_url),
            ("telegram-bot-token", &self.telegram_bot_token),
            ("ntfy-url", &self.ntfy_url),
            ("ntfy-token", &self.ntfy_token),
            ("webhook-url", &self.webhook_url),
            ("webhook-secret", &self.webhook_secret),
            ("github-token", &self.github_token),
            ("heartbeat-url", &self.heartbeat_url),
        ]
    }

    /// What anybody may, likewise.
    pub fn names(&self) -> [(&'static str, Option<String>); 5] {
        [
            ("mail-to", Some(self.mail_to.join("\n"))),
            ("mail-from", self.mail_from.clone()),
            ("report-to", Some(self.report_to.join("\n"))),
            ("telegram-chat-id", self.telegram_chat_id.clone()),
            ("telegram-api-url", self.telegram_api_url.clone()),
        ]
    }
}
