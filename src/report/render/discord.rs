//! A Discord message: one embed within Discord's limits (<https://docs.discord.com/developers/resources/message#embed-object-embed-limits>:
//! title 256 characters, description 4,096, 25 fields of 256 and 1,024, footer 2,048, 6,000 in all).

use crate::report::{format::clip, message::Message, page::Verdict};
use serde_json::{Value, json};

/// Characters of all facts together, and of all else: with the title and the footer less than may be in all.
const FACTS: usize = 2400;
const REST: usize = 2400;

/// For a channel's webhook. Nobody is mentioned, whatever a database holds.
pub fn embed(message: &Message) -> Value {
    let mut room = FACTS;
    let field = |(name, value): &(&str, String)| {
        let value = escape(value, 200);
        room = room.checked_sub(name.chars().count() + value.chars().count())?;
        Some(json!({ "name": name, "value": value }))
    };
    let fields: Vec<Value> = message.facts.iter().take(25).map_while(field).collect();
    let mut embed = json!({
        "title": clip(&escape(&message.headline, 120), 250),
        "color": match message.verdict {
            Verdict::Good => 0x2e_b6_7d,
            Verdict::Doubtful => 0xec_b2_2e,
            Verdict::Bad => 0xe0_1e_5a,
        },
        "fields": fields,
    });
    let (description, footer) = (description(message), clip(&message.origin.join(" · "), 300));
    if let Some(embed) = embed.as_object_mut() {
        // An empty text is refused.
        let texts = [("description", json!(description)), ("footer", json!({ "text": footer }))];
        let there = [!description.is_empty(), !footer.is_empty()];
        embed.extend(
            texts.into_iter().zip(there).filter(|(_, there)| *there).map(|((name, text), _)| (name.to_owned(), text)),
        );
        embed.extend(message.run_url.iter().map(|url| ("url".to_owned(), json!(url))));
    }
    json!({ "content": message.verdict.sign(), "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

/// What failed, the lists and the warnings: as many lines as there is room for.
fn description(message: &Message) -> String {
    let mut lines = Vec::new();
    if let Some(failure) = &message.failure {
        lines.push(format!("**Failed in {}:** {}", escape(&failure.phase, 50), escape(&failure.message, 350)));
        lines.extend(failure.hint.as_ref().map(|hint| format!("**Hint:** {}", escape(hint, 200))));
    }
    for (title, items) in &message.lists {
        lines.push(format!("**{}**", escape(title, 100)));
        lines.extend(items.iter().map(|item| format!("- {}", escape(item, 100))));
    }
    lines.extend(message.warnings.iter().map(|warning| format!("⚠️ {}", escape(warning, 150))));
    let mut room = REST;
    let fits = |line: &String| {
        let left = room.checked_sub(line.chars().count() + 1);
        room = left.unwrap_or(0);
        left.is_some()
    };
    lines.into_iter().take_while(fits).collect::<Vec<_>>().join("\n")
}

/// Text that stays text (<https://support.discord.com/hc/en-us/articles/210298617>), cut before the escapes lengthen it, at most to double.
fn escape(text: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in clip(text, limit).chars() {
        if r"\*_~|`>#[]<@".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, message::tests::longest};
    use crate::vault::RunContext;

    /// Characters that count, after a look at the limit of each.
    fn length(message: &Value) -> usize {
        let embed = &message["embeds"][0];
        let of = |v: &Value, most: usize| {
            let length = v.as_str().map_or(0, |s| s.chars().count());
            assert!(length <= most, "{length} of {most}: {v}");
            length
        };
        let fields = embed["fields"].as_array().expect("fields");
        assert!(fields.len() <= 25);
        let fields: usize = fields.iter().map(|f| of(&f["name"], 256) + of(&f["value"], 1024)).sum();
        fields + of(&embed["title"], 256) + of(&embed["description"], 4096) + of(&embed["footer"]["text"], 2048)
    }

    #[test]
    fn a_message_as_people_see_it() {
        for report in [fixture::proven(), fixture::proof_failed()] {
            assert!(length(&embed(&Message::of(&report.into(), &RunContext::default()))) <= 6000);
        }
        insta::assert_json_snapshot!(
            "discord",
            embed(&Message::of(&fixture::proof_failed().into(), &RunContext::default()))
        );
    }

    #[test]
    fn the_longest_names_stay_within_the_limits() {
        let message = embed(&longest());
        assert!(length(&message) <= 6000, "{}", length(&message));
    }
}
