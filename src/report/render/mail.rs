//! A mail: its subject, its text, and the same as HTML.

use crate::report::{
    format::{clean, clip},
    message::Message,
    page::Verdict,
};
use minijinja::{AutoEscape, Environment, context};

const TEMPLATE: &str = include_str!("mail.html");

/// Characters of a mail's text.
const MOST: usize = 20_000;

/// What the subject says.
pub fn subject(message: &Message) -> String {
    message.title(150)
}

/// The mail for whoever reads no HTML.
pub fn text(message: &Message) -> String {
    let link = message.run_url.as_ref().map(|url| format!("\n{url}\n"));
    format!("{}\n\n{}\n{}", message.title(300), message.text(MOST), link.unwrap_or_default())
}

/// The same as HTML.
pub fn html(message: &Message) -> String {
    let colour = match message.verdict {
        Verdict::Good => "#1a7f37",
        Verdict::Doubtful => "#9a6700",
        Verdict::Bad => "#d1242f",
    };
    let failure = message.failure.as_ref();
    let failure = failure.map(|f| {
        context! { phase => clean(&f.phase), message => clean(&f.message), hint => f.hint.as_deref().map(clean) }
    });
    let warnings = (!message.warnings.is_empty()).then_some(("warnings", &message.warnings));
    let lists: Vec<_> = message
        .lists
        .iter()
        .map(|(title, lines)| (*title, lines))
        .chain(warnings)
        .map(|(title, lines)| (title, lines.clone()))
        .collect();
    let facts: Vec<_> = message.facts.iter().map(|(name, value)| (*name, clip(value, 1000))).collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let rendered = environment.render_str(
        TEMPLATE,
        context! {
            title => message.title(300), colour, failure, facts, lists,
            commands => message.commands.iter().map(|c| clean(c).into_owned()).collect::<Vec<_>>(),
            origin => message.origin.clone(), run_url => message.run_url.clone(),
        },
    );
    // The template is ours: the tests render it with everything that there is.
    rendered.unwrap_or_else(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{fixture, message::tests::longest};
    use crate::vault::RunContext;

    #[test]
    fn a_mail_as_people_see_it() {
        let message = Message::of(&fixture::proof_failed().into(), &RunContext::default());
        insta::assert_snapshot!(
            "mail",
            format!("{}\n=====\n{}=====\n{}", subject(&message), text(&message), html(&message))
        );
    }

    #[test]
    fn markup_stays_text() {
        let html = html(&longest());
        assert!(html.contains("&lt;&amp;&gt;") && !html.contains("<&>"), "{html}");
        assert!(subject(&longest()).chars().count() <= 150 && !subject(&longest()).contains('\n'));
    }
}
