//! Renderers of a report, equals: each is a file here and a line in [`RENDERERS`].

pub mod comment;
pub mod discord;
pub mod json;
pub mod mail;
mod markdown;
mod metrics;
pub mod ntfy;
mod paper;
mod renderer;
pub mod slack;
mod status;
pub mod summary;
pub mod teams;
pub mod telegram;
pub mod terminal;
mod timeline;

pub use paper::Paper;
pub use renderer::{OfMessage, Renderer};

use super::overview::{Format, Overview};

/// An overview as what was asked for.
pub fn overview(overview: &Overview, format: Format) -> String {
    match format {
        Format::Html => status::html(overview),
        Format::Json => format!("{:#}\n", serde_json::json!(overview)),
        Format::Prometheus => metrics::prometheus(overview),
        Format::Openmetrics => metrics::openmetrics(overview),
    }
}

/// Every renderer.
pub const RENDERERS: &[&dyn Renderer] = &[
    &terminal::PLAIN,
    &json::Json,
    &summary::Summary,
    &comment::Comment,
    &OfMessage("slack", |message| slack::blocks(message).to_string()),
    &OfMessage("discord", |message| discord::embed(message).to_string()),
    &OfMessage("teams", |message| teams::card(message).to_string()),
    &OfMessage("telegram", telegram::html),
    &OfMessage("ntfy", |message| ntfy::publish(message, "topic").to_string()),
    &OfMessage("mail", mail::html),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::{Error, Kind},
        report::{Checks, Page, Report, fixture, message::Message, page::Verdict},
        vault::RunContext,
    };

    /// Every kind of report that there is.
    fn reports() -> Vec<Report> {
        let plan = fixture::plan();
        let mut all: Vec<Report> = fixture::all().into_iter().map(|(_, report)| report.into()).collect();
        let failed = Page::failed(
            "restore",
            "plan",
            &Error::new(Kind::Refused, "database app\n::error::x").hint("--create NAME"),
        );
        all.extend([fixture::page().into(), failed.into(), Report::Checks(Checks(plan.checks.clone())), plan.into()]);
        all
    }

    /// The contract of all renderers.
    #[test]
    fn whatever_a_database_holds_stays_text() {
        let context = RunContext::default();
        for renderer in RENDERERS {
            for report in reports() {
                let text = renderer.render(&report, &context);
                let named = format!("{}: {}", renderer.name(), report.headline());
                assert!(!text.is_empty(), "{named}");
                assert!(!text.contains('\u{1b}'), "{named} passes an escape on: {text}");
                assert!(
                    !text.lines().any(|l| l.trim_start().starts_with("::")),
                    "{named} lets a command begin: {text}"
                );
                assert_eq!(text, renderer.render(&report, &context), "{named} is not the same twice");
            }
        }
        let mut names: Vec<&str> = RENDERERS.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RENDERERS.len());
    }

    #[test]
    fn a_page_as_people_see_it() {
        let (page, context) = (fixture::page().into(), RunContext::default());
        let shown = format!(
            "{}\n=====\n{}\n=====\n{:#}\n=====\n{}",
            terminal::PLAIN.render(&page, &context),
            summary::Summary.render(&page, &context),
            slack::blocks(&Message::of(&page, &context)),
            json::Json.render(&page, &context).trim_end()
        );
        insta::assert_snapshot!("page", shown);
    }

    #[test]
    fn a_failure_names_its_cure() {
        let error = Error::new(Kind::Refused, "database app holds tables").hint("use --create NAME");
        let page = Page::failed("restore", "plan", &error);
        assert_eq!((page.exit_code, page.verdict), (1, Verdict::Bad));
        let text = terminal::failure(&page.into(), Paper::default());
        assert_eq!(text, "error in plan: database app holds tables\n  hint: use --create NAME\n");
    }
}
