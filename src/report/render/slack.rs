//! A Slack message: Block Kit JSON within Slack's limits
//! (<https://docs.slack.dev/reference/block-kit/blocks/section-block/>: a section's text 3,000 characters, a field 2,000, ten fields), within
//! an attachment, as only that has a colour; or flat variables for a workflow that begins with a webhook.

use crate::report::{Failure, format::clip, message::Message, page::Verdict};
use serde_json::{Value, json};

/// Names and values that a section takes.
const FIELDS: usize = 10;

/// For an incoming webhook.
pub fn blocks(message: &Message) -> Value {
    let mut blocks = Vec::new();
    blocks.extend(message.failure.as_ref().map(failed));
    blocks.extend(message.facts.chunks(FIELDS).take(2).map(fields));
    for (title, items) in &message.lists {
        blocks.push(section(format!("*{}*\n{}", escape(title, 100), bullets(items))));
    }
    if !message.commands.is_empty() {
        // A backtick would end the block; no command of ours needs one.
        let code: Vec<String> = message.commands.iter().map(|c| escape(&c.replace('`', "'"), 1500)).collect();
        let code = code.join("\n");
        // Half a command is worse than none.
        if code.chars().count() < 2900 {
            blocks.push(section(format!("*Restore*\n```{code}```")));
        }
    }
    if !message.warnings.is_empty() {
        blocks.push(section(message.warnings.iter().map(|w| format!("⚠️ {}\n", escape(w, 200))).collect()));
    }
    blocks.extend(origin(message));
    let text = format!("{} *{}*", message.verdict.sign(), escape(&message.headline, 300));
    match blocks.is_empty() {
        true => json!({ "text": text }),
        false => json!({ "text": text, "attachments": [{ "color": colour(message.verdict), "blocks": blocks }] }),
    }
}

/// For a workflow that begins with a webhook: variables of text
/// (<https://slack.com/help/articles/360041352714-Build-a-workflow--Create-a-workflow-that-starts-outside-of-Slack>).
pub fn variables(message: &Message) -> Value {
    let (failure, hint) = match &message.failure {
        Some(f) => (
            format!("{}: {}", clip(&f.phase, 50), clip(&f.message, 1000)),
            f.hint.as_deref().map_or(String::new(), |h| clip(h, 1000)),
        ),
        None => (String::new(), String::new()),
    };
    json!({
        "headline": message.title(300),
        "outcome": message.verdict.word(),
        "details": message.text(3000),
        "failure": failure,
        "hint": hint,
        "run_url": message.run_url.clone().unwrap_or_default(),
    })
}

fn colour(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "#2eb67d",
        Verdict::Doubtful => "#ecb22e",
        Verdict::Bad => "#e01e5a",
    }
}

/// What failed, with its cure.
fn failed(failure: &Failure) -> Value {
    let mut text = format!("*Failed in {}:* {}", escape(&failure.phase, 50), escape(&failure.message, 350));
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("\n*Hint:* {}", escape(hint, 150)));
    }
    section(text)
}

fn fields(facts: &[(&'static str, String)]) -> Value {
    let field = |(name, value): &(&str, String)| json!({ "type": "mrkdwn", "text": format!("*{name}*\n{}", escape(value, 350)) });
    json!({ "type": "section", "fields": facts.iter().map(field).collect::<Vec<_>>() })
}

fn bullets(lines: &[String]) -> String {
    lines.iter().map(|line| format!("• {}\n", escape(line, 100))).collect()
}

/// Where the run comes from; absent when nothing is known.
fn origin(message: &Message) -> Option<Value> {
    let mut parts: Vec<String> = message.origin.iter().map(|part| escape(part, 160)).collect();
    parts.extend(message.run_url.iter().map(|url| format!("<{}|open the run>", escape(url, 300))));
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
    use crate::report::{fixture, message::tests::longest};
    use crate::vault::RunContext;

    /// Panics where a text is longer than Slack takes.
    fn check_limits(message: &Value) {
        let length = |v: &Value| v.as_str().map_or(0, |s| s.chars().count());
        assert!(length(&message["text"]) <= 3000);
        let blocks = message["attachments"][0]["blocks"].as_array().expect("has blocks");
        assert!(blocks.len() <= 50);
        for block in blocks {
            assert!(length(&block["text"]["text"]) <= 3000, "{block}");
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            assert!(fields.len() <= 10 && fields.iter().all(|f| length(&f["text"]) <= 2000), "{block}");
        }
    }

    #[test]
    fn messages_as_people_see_them() {
        for (name, report) in fixture::all() {
            let message = blocks(&Message::of(&report.into(), &RunContext::default()));
            check_limits(&message);
            insta::assert_json_snapshot!(format!("slack_{name}"), message);
        }
        insta::assert_json_snapshot!(
            "slack_workflow",
            variables(&Message::of(&fixture::proof_failed().into(), &RunContext::default()))
        );
    }

    #[test]
    fn the_longest_names_stay_within_the_limits() {
        check_limits(&blocks(&longest()));
        assert!(
            variables(&longest())
                .as_object()
                .expect("an object")
                .values()
                .all(|v| v.as_str().is_some_and(|v| v.len() < 20_000))
        );
    }
}
