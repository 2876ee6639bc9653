//! A Slack message: Block Kit JSON within Slack's limits
//! (<https://docs.slack.dev/reference/block-kit/blocks/section-block/>: header 150 characters, a section's text 3,000,
//! a field 2,000, ten fields).

use super::renderer::Renderer;
use crate::{
    report::{
        BackupReport, Failure, Page, Report,
        format::{clip, seconds},
    },
    vault::RunContext,
};
use serde_json::{Value, json};

/// Renders for Slack; of reports that are of no run, only the headline.
#[derive(Debug)]
pub struct Slack;

impl Renderer for Slack {
    fn name(&self) -> &'static str {
        "slack"
    }

    fn render(&self, report: &Report, context: &RunContext) -> String {
        message(report, context).to_string()
    }
}

/// The message about a run; `context`: where it comes from.
pub fn message(report: &Report, context: &RunContext) -> Value {
    match report {
        Report::Backup(report) => backup(report),
        Report::Page(page) => self::page(page, context),
        Report::Plan(_) | Report::Checks(_) => json!({ "text": escape(&report.headline(), 300) }),
    }
}

/// As many differences as a message is good for.
const DIFFERENCES: usize = 5;

/// The message about a backup.
fn backup(report: &BackupReport) -> Value {
    let headline = format!("{} {}", report.sign(), report.headline());
    let mut blocks = vec![header(&headline)];
    blocks.extend(report.failure.as_ref().map(failed));
    let facts = report.facts().into_iter().filter(|(name, _)| *name != "backup" && *name != "time");
    blocks.extend(fields(facts.chain([("time", time(report))])));
    if let Some(proof) = report.proof_line() {
        blocks.push(section(format!("*Proof* {}", escape(&proof, 500))));
    }
    if let Some(proof) = report.proof.as_ref().filter(|p| !p.differences.is_empty()) {
        blocks.push(section(bullets(&proof.differences)));
    }
    if !report.anomalies.is_empty() {
        blocks.push(section(format!("⚠️ *Anomalies*\n{}", bullets(&report.anomalies))));
    }
    let commands = report.restore_commands();
    if !commands.is_empty() {
        // A backtick would end the block; no command of ours needs one.
        let code: Vec<String> = commands.iter().map(|c| escape(&c.replace('`', "'"), 1500)).collect();
        let code = code.join("\n");
        // Half a command is worse than none.
        if code.chars().count() < 2900 {
            blocks.push(section(format!("*Restore*\n```{code}```")));
        }
    }
    if !report.warnings.is_empty() {
        blocks.push(section(warnings(&report.warnings)));
    }
    blocks.extend(context_block(&report.context));
    json!({ "text": escape(&headline, 300), "blocks": blocks })
}

/// The message about a run of any other verb.
fn page(page: &Page, context: &RunContext) -> Value {
    let headline = format!("{} {}", page.verdict.sign(), page.headline);
    let mut blocks = vec![header(&headline)];
    blocks.extend(page.failure.as_ref().map(failed));
    blocks.extend(fields(page.facts.iter().cloned()));
    for (title, items) in page.lists.iter().filter(|(_, items)| !items.is_empty()).take(5) {
        blocks.push(section(format!("*{}*\n{}", escape(title, 100), bullets(items))));
    }
    if !page.warnings.is_empty() {
        blocks.push(section(warnings(&page.warnings)));
    }
    blocks.extend(context_block(context));
    json!({ "text": escape(&headline, 300), "blocks": blocks })
}

fn header(headline: &str) -> Value {
    json!({ "type": "header", "text": { "type": "plain_text", "text": clip(headline, 150), "emoji": false } })
}

/// What failed, with its cure.
fn failed(failure: &Failure) -> Value {
    let mut text = format!("*Failed in {}:* {}", escape(&failure.phase, 50), escape(&failure.message, 350));
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("\n*Hint:* {}", escape(hint, 150)));
    }
    section(text)
}

/// Names and values, as many as a message takes; none without any.
fn fields(facts: impl Iterator<Item = (&'static str, String)>) -> Option<Value> {
    let field = |(name, value): (&str, String)| json!({ "type": "mrkdwn", "text": format!("*{name}*\n{}", escape(&value, 350)) });
    let fields: Vec<Value> = facts.take(10).map(field).collect();
    (!fields.is_empty()).then(|| json!({ "type": "section", "fields": fields }))
}

/// The first few warnings.
fn warnings(warnings: &[String]) -> String {
    warnings.iter().take(3).map(|w| format!("⚠️ {}\n", escape(w, 150))).collect()
}

/// The first few lines of a list.
fn bullets(lines: &[String]) -> String {
    let mut text: String = lines.iter().take(DIFFERENCES).map(|d| format!("• {}\n", escape(d, 100))).collect();
    if lines.len() > DIFFERENCES {
        text.push_str(&format!("… and {} more", lines.len() - DIFFERENCES));
    }
    text
}

/// The message that `savepoint check --post` sends.
pub fn test_message(database: &str) -> Value {
    json!({ "text": format!("savepoint check: messages about {} arrive here", escape(database, 300)) })
}

fn time(report: &BackupReport) -> String {
    let dump = report.phases.iter().find(|(name, _)| name == "dump").map(|(_, t)| format!(", dump {}", seconds(*t)));
    format!("{}{}", seconds(report.seconds), dump.unwrap_or_default())
}

/// Where the run comes from; absent when nothing is known.
fn context_block(c: &RunContext) -> Option<Value> {
    let mut parts = Vec::new();
    if let Some(repository) = &c.repository {
        let short = |sha: &str| format!(" @ {}", escape(&sha.chars().take(7).collect::<String>(), 7));
        let commit = c.commit.as_deref().map(short);
        parts.push(format!("{}{}", escape(repository, 150), commit.unwrap_or_default()));
    }
    parts.extend(c.git_ref.iter().map(|r| escape(r, 100)));
    // Only a plain web address can be put between the signs of a link.
    let plain = |url: &&String| url.starts_with("http") && !url.contains(['<', '>', '|', ' ', '\n']);
    parts.extend(c.run_url.iter().filter(plain).map(|url| format!("<{}|open the run>", escape(url, 300))));
    let text = parts.join(" · ");
    (!text.is_empty()).then(|| json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": text }] }))
}

fn section(text: String) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

/// Text that stays text (<https://docs.slack.dev/messaging/formatting-message-text/#escaping>), on one line, cut to
/// `limit` characters before the escapes lengthen it, at most fivefold.
fn escape(text: &str, limit: usize) -> String {
    clip(text, limit).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// Panics where a text is longer than Slack takes.
    fn check_limits(message: &Value) {
        let length = |v: &Value| v.as_str().map_or(0, |s| s.chars().count());
        let blocks = message["blocks"].as_array().expect("has blocks");
        assert!(blocks.len() <= 50);
        for block in blocks {
            let most = if block["type"] == "header" { 150 } else { 3000 };
            assert!(length(&block["text"]["text"]) <= most, "{block}");
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            assert!(fields.len() <= 10 && fields.iter().all(|f| length(&f["text"]) <= 2000), "{block}");
        }
    }

    #[test]
    fn messages_as_people_see_them() {
        for (name, report) in fixture::all() {
            let message = backup(&report);
            check_limits(&message);
            insta::assert_json_snapshot!(format!("slack_{name}"), message);
        }
    }

    #[test]
    fn the_longest_names_stay_within_the_limits() {
        let mut report = fixture::proof_failed();
        let long = "<&>".repeat(5000);
        report.database = long.clone();
        report.source = long.clone();
        report.warnings = vec![long.clone(); 20];
        report.anomalies = vec![long.clone(); 20];
        report.context.repository = Some(long.clone());
        report.failure = fixture::failed().failure.map(|mut f| {
            f.message = long.clone();
            f.hint = Some(long.clone());
            f
        });
        if let Some(backup) = &mut report.backup {
            backup.uri = format!("s3://{long}");
        }
        if let Some(proof) = &mut report.proof {
            proof.differences = vec![long; 100];
        }
        check_limits(&backup(&report));
    }
}
