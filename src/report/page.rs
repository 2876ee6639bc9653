//! What a verb has to tell, as a page that each renderer takes: headline, facts, tables, lists, commands.

use super::Failure;
use crate::error::Error;
use serde_json::{Value, json};

/// How a run ended, for the sign in front of its headline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Good,
    /// Done, but worth a look.
    Doubtful,
    /// Not as it should.
    Bad,
}

impl Verdict {
    /// The sign.
    pub fn sign(self) -> &'static str {
        match self {
            Verdict::Good => "✅",
            Verdict::Doubtful => "⚠️",
            Verdict::Bad => "❌",
        }
    }
}

/// Rows under column names.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// What stands above it; may be empty.
    pub title: String,
    /// Names of the columns, and whether they hold numbers.
    pub columns: Vec<(&'static str, bool)>,
    /// Cells, as many per row as there are columns; may hold text from a database.
    pub rows: Vec<Vec<String>>,
    /// Every row is shown, however many: this table is what was asked for.
    pub whole: bool,
}

/// Everything that a run has to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The verb, such as `restore`.
    pub verb: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// How it ended, in a few words, beginning with what it is about; empty: no headline on a terminal.
    pub headline: String,
    /// What failed.
    pub failure: Option<Failure>,
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Titles and lines.
    pub lists: Vec<(&'static str, Vec<String>)>,
    /// Titles and shell commands.
    pub commands: Vec<(&'static str, Vec<String>)>,
    /// What may be wrong.
    pub warnings: Vec<String>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// Text for another program, which stands alone on a terminal.
    pub script: Option<String>,
    /// The step's outputs.
    pub outputs: Vec<(&'static str, String)>,
    /// The object that `--json` prints, without the fields that every verb has: the renderer adds them.
    pub json: Value,
    /// The process's exit code.
    pub exit_code: u8,
}

impl Page {
    /// A page that says no more than how it ended.
    pub fn new(verb: &'static str, headline: impl Into<String>) -> Self {
        Page {
            verb,
            verdict: Verdict::Good,
            headline: headline.into(),
            failure: None,
            facts: Vec::new(),
            tables: Vec::new(),
            lists: Vec::new(),
            commands: Vec::new(),
            warnings: Vec::new(),
            notices: Vec::new(),
            script: None,
            outputs: Vec::new(),
            json: json!({}),
            exit_code: 0,
        }
    }

    /// A run that ended with an error.
    pub fn failed(verb: &'static str, phase: &str, error: &Error) -> Self {
        let failure = Failure {
            phase: phase.into(),
            message: error.one_line(),
            hint: error.hint_text().map(str::to_owned),
            exit_code: error.exit_code(),
        };
        Page {
            verdict: Verdict::Bad,
            exit_code: error.exit_code(),
            failure: Some(failure),
            ..Page::new(verb, format!("savepoint {verb} failed"))
        }
    }
}
