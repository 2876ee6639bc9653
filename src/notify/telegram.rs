//! Telegram, by a bot (<https://core.telegram.org/bots/api#sendmessage>).

use super::{
    channel::{Channel, Given},
    hook::Hook,
};
use crate::{
    error::{Error, Kind, Result},
    report::{message::Message, page::Verdict, render::telegram::html},
    secret::Secret,
};
use serde_json::json;

/// Telegram's own server; there may be another (<https://github.com/tdlib/telegram-bot-api>).
const API: &str = "https://api.telegram.org";

/// As the options say; `None` without them.
///
/// # Errors
/// [`Kind::Usage`] when one of the two is missing, or they cannot be right.
pub(super) fn open(given: &Given<'_>) -> Result<Option<Box<dyn Channel>>> {
    let wrong = |text: &str, hint: &str| Err(Error::new(Kind::Usage, text).hint(hint));
    let (token, chat) = match (given.secret("telegram-bot-token"), given.secret("telegram-chat-id")) {
        (None, None) => return Ok(None),
        (Some(token), Some(chat)) => (token, chat.expose().to_owned()),
        (Some(_), None) => {
            return wrong(
                "option telegram-chat-id: not set",
                "name the chat that the bot writes to: a number, or @channel",
            );
        }
        (None, Some(_)) => return wrong("option telegram-bot-token: not set", "@BotFather hands it out"),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-');
    if !token.expose().contains(':') || !token.expose().chars().all(plain) {
        return wrong(
            "option telegram-bot-token: not a bot's token (its value is not shown)",
            "@BotFather hands it out: 123456:ABC…",
        );
    }
    let api = given.secret("telegram-api-url").map_or(API, |url| url.expose());
    let url = Secret::new(format!("{}/bot{}/sendMessage", api.trim_end_matches('/'), token.expose()));
    let hint = "name the address of a Bot API server, such as https://api.telegram.org";
    let hook = Hook::at(url, given, "Telegram", "telegram-api-url", hint)?;
    let hook = Hook { option: "telegram-bot-token and telegram-chat-id", ..hook };
    let body = move |message: &Message| {
        json!({
            "chat_id": chat, "text": html(message), "parse_mode": "HTML",
            "link_preview_options": { "is_disabled": true },
            "disable_notification": message.verdict == Verdict::Good,
        })
    };
    Ok(Some(hook.telling("telegram", body)))
}
