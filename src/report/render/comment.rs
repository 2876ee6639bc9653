//! A comment on a pull request, or a check run's text: the summary, as long as GitHub takes it.

use super::{renderer::Renderer, summary::Summary};
use crate::{report::Report, vault::RunContext};

/// Characters of a comment are at most 65,536; room is left for what stands in front.
const LONGEST: usize = 60_000;

/// Renders for a pull request.
#[derive(Debug)]
pub struct Comment;

impl Renderer for Comment {
    fn name(&self) -> &'static str {
        "comment"
    }

    fn render(&self, report: &Report, context: &RunContext) -> String {
        let text = Summary.render(report, context);
        if text.len() <= LONGEST {
            return text;
        }
        let text = Summary.render(&shortened(report), context);
        match text.char_indices().nth(LONGEST) {
            None => text,
            // Whole lines; what is folded or fenced there stays open, which GitHub ends with the comment.
            Some((end, _)) => {
                format!("{}\n\n… the step's summary has the rest\n", &text[..text[..end].rfind('\n').unwrap_or(0)])
            }
        }
    }
}

/// The same without the long texts.
fn shortened(report: &Report) -> Report {
    let mut report = report.clone();
    match &mut report {
        Report::Backup(report) => {
            if let Some(rehearsal) = &mut report.rehearsal {
                rehearsal.output.clear();
                rehearsal.schema.iter_mut().for_each(|change| change.diff.clear());
            }
        }
        Report::Page(page) => page.details.clear(),
        Report::Plan(_) | Report::Checks(_) => {}
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn whatever_there_is_to_say_fits() {
        let mut report = fixture::hostile();
        report.warnings = vec!["<&>*_".repeat(2000); 10_000];
        let text = Comment.render(&report.into(), &RunContext::default());
        assert!(text.chars().count() < 65_000, "{}", text.len());
        let short: Report = fixture::proven().into();
        assert_eq!(Comment.render(&short, &RunContext::default()), Summary.render(&short, &RunContext::default()));
    }
}
