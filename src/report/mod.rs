//! What a run has to tell: one report, whatever the verb, and many renderers ([`render`]).

mod backup;
mod check;
#[cfg(test)]
pub(crate) mod fixture;
pub mod format;
pub mod message;
pub mod overview;
pub mod page;
mod past;
mod plan;
pub mod progress;
pub mod rehearsal;
pub mod render;

pub use backup::{
    BackupReport, CopyState, Outcome, PhaseTime, Pruned, StoredBackup, StoredCopy, encrypted_to, proof_line,
    restore_commands, size_line,
};
pub use check::{Check, Checks, Status};
pub use page::Page;
pub use past::{Before, Failing, Past, Proven, Size, largest};
pub use plan::{PlanReport, PlanTable};
pub use rehearsal::Rehearsal;

use serde::Serialize;

/// What failed, in which phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Name of the phase ([`crate::progress::Phase::name`]).
    pub phase: String,
    /// One line.
    pub message: String,
    /// The cure.
    pub hint: Option<String>,
    /// The exit code that the error alone would give.
    pub exit_code: u8,
}

/// Everything that a run has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// Of a backup.
    Backup(Box<BackupReport>),
    /// Of a backup that was only planned.
    Plan(Box<PlanReport>),
    /// Of the questions that a backup asks first.
    Checks(Checks),
    /// Of any other verb.
    Page(Box<Page>),
}

impl Report {
    /// The process exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Report::Backup(report) => report.exit_code(),
            Report::Plan(plan) => u8::from(plan.checks.iter().any(|c| c.status == Status::Failed)),
            Report::Checks(checks) => u8::from(checks.failed() > 0),
            Report::Page(page) => page.exit_code,
        }
    }

    /// Whether those who wait for such runs are told: a plan and mere questions are no run.
    pub fn is_of_a_run(&self) -> bool {
        matches!(self, Report::Backup(_) | Report::Page(_))
    }

    /// How it ended, in a few words.
    pub fn headline(&self) -> String {
        match self {
            Report::Backup(report) => report.headline(),
            Report::Plan(plan) => plan.headline(),
            Report::Checks(checks) => checks.headline(),
            Report::Page(page) => page.headline.clone(),
        }
    }

    /// The outputs of a workflow's step.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        match self {
            Report::Backup(report) => report.outputs(),
            Report::Page(page) => page.outputs.clone(),
            Report::Plan(_) | Report::Checks(_) => Vec::new(),
        }
    }

    /// Puts what the options gave rise to in front of the notices.
    pub fn notice_first(&mut self, notices: Vec<String>) {
        let of = match self {
            Report::Backup(report) => &mut report.notices,
            Report::Page(page) => &mut page.notices,
            Report::Plan(_) | Report::Checks(_) => return,
        };
        of.splice(0..0, notices);
    }

    /// Adds what may be wrong.
    pub fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        match self {
            Report::Backup(report) => report.warnings.extend(warnings),
            Report::Page(page) => page.warnings.extend(warnings),
            Report::Plan(_) | Report::Checks(_) => {}
        }
    }
}

impl From<BackupReport> for Report {
    fn from(report: BackupReport) -> Self {
        Report::Backup(Box::new(report))
    }
}

impl From<PlanReport> for Report {
    fn from(plan: PlanReport) -> Self {
        Report::Plan(Box::new(plan))
    }
}

impl From<Page> for Report {
    fn from(page: Page) -> Self {
        Report::Page(Box::new(page))
    }
}
