//! How a question is answered: lines for people, a no with its cure.

use crate::{
    error::{Error, Kind},
    report::{Check, Status},
};

/// One line of an answer; the question's name is added when it is told.
pub(super) struct Answer {
    status: Status,
    detail: String,
    hint: Option<String>,
}

impl Answer {
    /// Yes.
    pub(super) fn ok(detail: impl Into<String>) -> Self {
        Self { status: Status::Ok, detail: detail.into(), hint: None }
    }

    /// Yes, but.
    pub(super) fn warning(detail: impl Into<String>) -> Self {
        Self { status: Status::Warning, ..Self::ok(detail) }
    }

    /// The same, with a cure.
    pub(super) fn hint(self, cure: impl Into<String>) -> Self {
        Self { hint: Some(cure.into()), ..self }
    }

    /// Not asked this time, and why.
    pub(super) fn skipped(detail: impl Into<String>) -> Self {
        Self { status: Status::Skipped, ..Self::ok(detail) }
    }

    /// No, and the cure. What comes after is asked all the same.
    pub(super) fn no(detail: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { status: Status::Failed, detail: detail.into(), hint: Some(cure.into()) }
    }

    /// No, because of an error.
    pub(super) fn failed(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Self { status: Status::Failed, detail: error.one_line(), hint }
    }

    /// As it is shown.
    pub(super) fn under(self, name: &str) -> Check {
        Check { name: name.into(), status: self.status, detail: self.detail, hint: self.hint }
    }
}

/// Why a question's answer is no list of lines.
pub(super) enum Unanswered {
    /// A no that makes all later questions of its side pointless.
    No(Answer),
    /// What it asks about was never learnt: an earlier question was answered with no.
    Pointless,
}

impl From<&Error> for Unanswered {
    fn from(error: &Error) -> Self {
        Unanswered::No(Answer::failed(error))
    }
}

impl From<Error> for Unanswered {
    fn from(error: Error) -> Self {
        Unanswered::from(&error)
    }
}

/// The lines of an answer. None: there is nothing to say, as yet.
pub(super) type Answered = Result<Vec<Answer>, Unanswered>;

/// A plain yes.
pub(super) fn yes(detail: impl Into<String>) -> Answered {
    Ok(vec![Answer::ok(detail)])
}

/// Joins a few names and says how many more there are.
pub(super) fn some(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

/// The first no as an error; says how many more there are.
pub fn refusal(checks: &[Check]) -> Error {
    let mut failed = checks.iter().filter(|c| c.status == Status::Failed);
    let Some(first) = failed.next() else { return Error::new(Kind::Refused, "the preflight did not finish") };
    let more = failed.count();
    let more = if more == 0 { String::new() } else { format!(" (and {more} more: run savepoint check)") };
    let error = Error::new(Kind::Refused, format!("{}: {}{more}", first.name, first.detail));
    match &first.hint {
        Some(hint) => error.hint(hint.clone()),
        None => error,
    }
}
