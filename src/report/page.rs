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

    /// The same for programs.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Doubtful => "doubtful",
            Verdict::Bad => "bad",
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

/// A long text: its title, the language that it is in, and itself.
pub type Detail = (&'static str, &'static str, String);

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
    /// Long texts that are only looked at where there is room to fold them away: titles, languages and texts.
    pub details: Vec<Detail>,
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
            details: Vec::new(),
            warnings: Vec::new(),
            notices: Vec::new(),
            script: None,
            outputs: Vec::new(),
            json: json!({}),
            exit_code: 0,
        }
    }

    /// What was done in each of several places, in one page; that of a single place as it is.
    pub fn of_several(verb: &'static str, pages: Vec<(String, Page)>) -> Self {
        if pages.len() == 1 {
            return pages.into_iter().next().map_or_else(|| Page::new(verb, ""), |(_, page)| page);
        }
        let mut all = Page::new(verb, "");
        let mut places = Vec::new();
        let bad = |page: &Page| (page.verdict == Verdict::Bad, page.verdict == Verdict::Doubtful, page.exit_code);
        for (place, page) in pages {
            if bad(&page) > bad(&all) {
                (all.verdict, all.exit_code) = (page.verdict, page.exit_code);
            }
            let named = |line: String| format!("{place}: {line}");
            let headlines = [std::mem::take(&mut all.headline), named(page.headline)];
            all.headline = headlines.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
            if let Some(failure) = page.failure.filter(|_| all.failure.is_none()) {
                all.failure = Some(Failure { message: named(failure.message), ..failure });
            }
            if page.facts.iter().all(|(name, _)| *name != "destination") {
                all.facts.push(("destination", place.clone()));
            }
            all.facts.extend(page.facts);
            all.tables.extend(page.tables.into_iter().map(|table| Table {
                title: if table.title.is_empty() { place.clone() } else { named(table.title) },
                ..table
            }));
            all.lists.extend(page.lists);
            all.commands.extend(page.commands);
            all.warnings.extend(page.warnings.into_iter().map(named));
            all.notices.extend(page.notices);
            let mut own = json!({ "destination": place, "exit_code": page.exit_code });
            if let (Some(own), Value::Object(fields)) = (own.as_object_mut(), page.json) {
                own.extend(fields);
            }
            places.push(own);
            if all.outputs.is_empty() {
                all.outputs = page.outputs;
            }
        }
        all.json = json!({ "destinations": places });
        all
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
