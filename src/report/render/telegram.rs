//! A Telegram message: HTML within Telegram's limit (<https://core.telegram.org/bots/api#html-style>: 4,096 characters once the markup is
//! taken off).

use crate::report::message::Message;

/// The text of a message with `parse_mode` HTML.
pub fn html(message: &Message) -> String {
    let link = message.run_url.as_ref().map(|url| format!("\n\n<a href=\"{}\">open the run</a>", escape(url)));
    format!("<b>{}</b>\n\n{}{}", escape(&message.title(300)), escape(&message.text(3500)), link.unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, message::tests::longest};
    use crate::vault::RunContext;

    #[test]
    fn a_message_as_people_see_it() {
        insta::assert_snapshot!(
            "telegram",
            html(&Message::of(&fixture::proof_failed().into(), &RunContext::default()))
        );
    }

    #[test]
    fn the_longest_names_stay_within_the_limits() {
        let text = html(&longest());
        let shown = text.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">");
        assert!(shown.chars().count() <= 4096);
    }
}
