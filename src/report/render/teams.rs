//! A message for Microsoft Teams: an adaptive card, as a workflow that begins with a webhook posts it
//! (<https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>: 28 kB at most). Text
//! stands in runs, which know no markup.

use crate::report::{format::clip, message::Message, page::Verdict};
use serde_json::{Value, json};

/// Bytes.
const MOST: usize = 27_000;

/// For a workflow's webhook.
pub fn card(message: &Message) -> Value {
    let mut limit = 300;
    loop {
        let card = card_of(message, limit);
        if limit < 10 || card.to_string().len() <= MOST {
            return card;
        }
        limit /= 2;
    }
}

/// `limit`: characters of a line.
fn card_of(message: &Message, limit: usize) -> Value {
    let plain = |text: &str| plain(text, limit);
    let named = |name: &str, value: &str| block(vec![bold(&format!("{name}: ")), plain(value)]);
    let colour = match message.verdict {
        Verdict::Good => "Good",
        Verdict::Doubtful => "Warning",
        Verdict::Bad => "Attention",
    };
    let title =
        json!({ "type": "TextRun", "text": message.title(200), "weight": "Bolder", "size": "Medium", "color": colour });
    let mut body = vec![block(vec![title])];
    if let Some(failure) = &message.failure {
        body.push(named(&format!("Failed in {}", clip(&failure.phase, 50)), &failure.message));
        body.extend(failure.hint.as_ref().map(|hint| named("Hint", hint)));
    }
    body.extend(message.facts.iter().take(20).map(|(name, value)| named(name, value)));
    for (title, items) in &message.lists {
        body.push(block(vec![bold(title)]));
        body.extend(items.iter().map(|item| block(vec![plain(&format!("• {item}"))])));
    }
    body.extend(message.warnings.iter().map(|warning| block(vec![plain(&format!("⚠️ {warning}"))])));
    if !message.origin.is_empty() {
        body.push(block(vec![
            json!({ "type": "TextRun", "text": clip(&message.origin.join(" · "), 300), "isSubtle": true }),
        ]));
    }
    let open = |url: &String| json!({ "type": "Action.OpenUrl", "title": "Open the run", "url": url });
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
                "actions": message.run_url.iter().map(open).collect::<Vec<_>>(),
            },
        }],
    })
}

fn bold(text: &str) -> Value {
    json!({ "type": "TextRun", "text": clip(text, 100), "weight": "Bolder" })
}

fn plain(text: &str, limit: usize) -> Value {
    json!({ "type": "TextRun", "text": clip(text, limit) })
}

fn block(runs: Vec<Value>) -> Value {
    json!({ "type": "RichTextBlock", "inlines": runs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, message::tests::longest};
    use crate::vault::RunContext;

    #[test]
    fn a_message_as_people_see_it() {
        insta::assert_json_snapshot!(
            "teams",
            card(&Message::of(&fixture::proof_failed().into(), &RunContext::default()))
        );
    }

    #[test]
    fn the_longest_names_stay_within_the_limits() {
        let mut message = longest();
        for _ in 0..2 {
            let bytes = card(&message).to_string().len();
            assert!(bytes <= 28_000, "{bytes}");
            message.facts.extend(vec![("signs of four bytes", "🦀".repeat(300)); 20]);
            message.facts.rotate_right(20);
        }
    }
}
