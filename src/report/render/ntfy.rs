//! A message of ntfy (<https://docs.ntfy.sh/publish/#publish-as-json>: 4,096 bytes of text).

use crate::report::{message::Message, page::Verdict};
use serde_json::{Value, json};

/// Bytes of the text; longer ones become an attachment.
const MOST: usize = 4000;

/// For the server's root.
pub fn publish(message: &Message, topic: &str) -> Value {
    let mut limit = MOST;
    let mut text = message.text(limit);
    while text.len() > MOST {
        limit -= limit / 4;
        text = message.text(limit);
    }
    let (tag, priority) = match message.verdict {
        Verdict::Good => ("white_check_mark", 3),
        Verdict::Doubtful => ("warning", 4),
        Verdict::Bad => ("x", 5),
    };
    let mut body = json!({
        "topic": topic, "title": message.headline_in(200), "message": text, "tags": [tag], "priority": priority,
    });
    if let (Some(url), Some(body)) = (&message.run_url, body.as_object_mut()) {
        body.insert("click".into(), json!(url));
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, message::tests::longest};
    use crate::vault::RunContext;

    #[test]
    fn a_message_as_people_see_it() {
        insta::assert_json_snapshot!(
            "ntfy",
            publish(&Message::of(&fixture::proof_failed().into(), &RunContext::default()), "t")
        );
    }

    #[test]
    fn the_longest_names_stay_within_the_limits() {
        let mut message = longest();
        message.facts.push(("umlauts", "ü".repeat(5000)));
        assert!(publish(&message, "t")["message"].as_str().is_some_and(|text| text.len() <= 4096));
    }
}
