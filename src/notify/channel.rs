//! What a channel is.

use crate::{
    error::{Error, Result},
    report::{
        Check, Failing, Report, Status,
        message::Message,
        render::{Paper, terminal},
    },
    roots::Roots,
    secret::Secret,
    vault::RunContext,
};
use async_trait::async_trait;
use std::fmt;

/// Which runs are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NotifyOn {
    /// Each run.
    #[default]
    Always,
    /// Only runs that failed, and the first that did not fail behind them.
    Failure,
    /// Only runs that did not fail.
    Success,
    /// Only runs that ended otherwise than the one before.
    Change,
}

impl NotifyOn {
    /// Whether a run that ended so is told. `failing`: whether the one before failed, where that is known; where it is not, no failure
    /// goes untold.
    pub fn wants(self, failed: bool, failing: Option<bool>) -> bool {
        match self {
            NotifyOn::Always => true,
            NotifyOn::Failure => failed || failing == Some(true),
            NotifyOn::Success => !failed,
            NotifyOn::Change => failing.map_or(failed, |failing| failing != failed),
        }
    }
}

/// A pull request, as the runner knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequest {
    /// GitHub's API, such as `https://api.github.com`.
    pub api: String,
    /// `owner/name`.
    pub repository: String,
    /// Its number; `None` where the run belongs to none.
    pub number: Option<u64>,
    /// Its newest commit, or the run's own.
    pub commit: Option<String>,
}

/// What was given for the channels; each takes what is its own.
#[derive(Debug)]
pub struct Given<'a> {
    /// Addresses, tokens and names by the names of their options; none of them empty.
    pub secrets: &'a [(&'static str, Secret)],
    /// Root certificates besides the machine's own.
    pub roots: Option<&'a Roots>,
    /// What the run belongs to, where a runner says so.
    pub pull_request: Option<&'a PullRequest>,
}

impl Given<'_> {
    /// An option's value.
    pub(super) fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.iter().find(|(n, _)| *n == name).map(|(_, secret)| secret)
    }
}

/// A run that has ended, as a channel tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What there is to tell.
    pub report: &'a Report,
    /// Where the run comes from.
    pub context: &'a RunContext,
    /// Nothing was done: what is waited for has not come.
    pub dry_run: bool,
}

impl Told<'_> {
    /// Whether the run failed.
    pub fn failed(&self) -> bool {
        self.report.exit_code() != 0
    }

    /// Whether the run before failed; `None` where that is not known.
    pub fn failing(&self) -> Option<bool> {
        let Report::Backup(report) = self.report else { return None };
        match report.past.failing {
            Failing::Unknown => None,
            Failing::No => Some(false),
            Failing::Since { .. } => Some(true),
        }
    }

    /// The same in the words of a message.
    pub fn message(&self) -> Message {
        Message::of(self.report, self.context)
    }

    /// How it ended, as plain text: the headline, and what failed with its cure.
    pub fn text(&self) -> String {
        self.report.headline() + "\n" + &terminal::failure(self.report, Paper::default())
    }
}

/// A check's answer to whether messages would arrive; a no is a warning, as a run works without them. `name`: of the check.
pub(super) fn checked(name: &str, answer: Result<&str>) -> Check {
    let (status, detail, hint) = match answer {
        Ok(detail) => (Status::Ok, detail.to_owned(), None),
        Err(e) => (Status::Warning, e.one_line(), e.hint_text().map(str::to_owned)),
    };
    Check { name: name.into(), status, detail, hint }
}

/// The cure of a server that cannot be reached by TLS, or the one that is given.
pub(super) fn cure<'a>(error: &Error, other: &'a str) -> &'a str {
    match error.one_line().contains("UnknownIssuer") {
        true => "its certificate is signed by no root that this machine knows: name that by ca-file",
        false => other,
    }
}

/// Somebody who is told of runs. Each is a file, a line in `CHANNELS`, and passes the contract of `notify::tests`.
#[async_trait]
pub trait Channel: Send + Sync + fmt::Debug {
    /// Who it is, as warnings name it: `Slack`.
    fn name(&self) -> &'static str;

    /// It is told of every run, whatever `notify-on` says.
    fn of_every_run(&self) -> bool {
        false
    }

    /// A run begins that does what it says. Returns at once: what there is to tell is told beside the work.
    fn begin(&mut self) {}

    /// It has ended. Returns within a time of the channel's own.
    ///
    /// # Errors
    /// [`crate::error::Kind::Notify`] when that was not taken; never holds a secret.
    async fn end(&mut self, told: &Told<'_>) -> Result<()>;

    /// For `savepoint check`: whether messages about `database` would arrive, with `post` by posting one; `None` where that cannot be asked.
    async fn check(&self, _post: bool, _database: &str) -> Option<Check> {
        None
    }
}
