//! What the options of a verb say, checked.

use crate::notify::Channels;
use std::time::Duration;

/// What is said while working.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// As people read it.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// How the result is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Print a plan and touch nothing.
    pub dry_run: bool,
    /// Print one JSON object.
    pub json: bool,
    /// What is said while working.
    pub log: LogFormat,
    /// No progress and no notices.
    pub quiet: bool,
    /// Show details.
    pub verbose: bool,
    /// How long all of it may take.
    pub timeout: Option<Duration>,
}

/// What the options of a verb say, validated.
#[derive(Debug)]
pub struct Validated<T> {
    /// What the verb needs.
    pub config: T,
    /// Who is told.
    pub notify: Channels,
    /// How the result is shown.
    pub output: Output,
    /// What the user should know about the options.
    pub notices: Vec<String>,
}

impl<T> Validated<T> {
    /// The same for what a verb makes of it.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Validated<U> {
        Validated { config: to(self.config), notify: self.notify, output: self.output, notices: self.notices }
    }
}
