//! The answers of a preflight.

use super::format::counted;
use serde::Serialize;

/// How a preflight question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Yes.
    Ok,
    /// Yes, but.
    Warning,
    /// No: a backup would be refused.
    Failed,
    /// Not asked, because an earlier answer makes it pointless.
    Skipped,
}

/// One preflight question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Short name, such as `pooler` or `privileges`.
    pub name: String,
    /// The answer.
    pub status: Status,
    /// What was seen, one line.
    pub detail: String,
    /// The cure.
    pub hint: Option<String>,
}

/// What `savepoint check` has to tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Checks(pub Vec<Check>);

impl Checks {
    /// How many questions were answered with no.
    pub fn failed(&self) -> usize {
        self.0.iter().filter(|c| c.status == Status::Failed).count()
    }

    /// How it ended, in a few words.
    pub fn headline(&self) -> String {
        match self.failed() {
            0 => "savepoint check: ready for a backup".to_owned(),
            n => format!("savepoint check: {} failed", counted(n as u64, "check")),
        }
    }
}
