//! What a verb has to tell, as a page that each renderer takes: headline, facts, tables, lists, commands.

use super::{
    Failure,
    format::{clean, clip, count},
};
use crate::{error::Error, vault::RunContext};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// As many lines of a list or table as a terminal or a page is good for.
const LINES: usize = 50;

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
    fn sign(self) -> &'static str {
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
    /// The step's outputs.
    pub outputs: Vec<(&'static str, String)>,
    /// The object that `--json` prints, without the fields that every verb has: [`Page::json`] adds them.
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

    /// As people read it on a terminal.
    pub fn terminal(&self) -> String {
        let mut out = String::new();
        if !self.headline.is_empty() {
            let _ = writeln!(out, "{}", clean(&self.headline));
        }
        if !out.is_empty() && !self.facts.is_empty() {
            out.push('\n');
        }
        let width = self.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(11);
        for (name, value) in &self.facts {
            let _ = writeln!(out, "  {name:<width$}  {}", clean(value));
        }
        for table in &self.tables {
            out.push_str(&aligned(table));
        }
        let warnings = ("warnings", self.warnings.clone());
        for (title, items) in self.lists.iter().chain([&warnings]).filter(|(_, items)| !items.is_empty()) {
            let _ = writeln!(out, "\n{title}:");
            for item in items.iter().take(LINES) {
                let _ = writeln!(out, "  - {}", clean(item));
            }
            more(&mut out, items.len(), "  ");
        }
        for (title, commands) in self.commands.iter().filter(|(_, commands)| !commands.is_empty()) {
            let _ = writeln!(out, "\n{title}:");
            for command in commands {
                let _ = writeln!(out, "  {}", clean(command));
            }
        }
        out
    }

    /// What failed, with its cure: for stderr.
    pub fn failure_text(&self) -> String {
        let Some(failure) = &self.failure else { return String::new() };
        let hint = failure.hint.as_ref().map(|h| format!("  hint: {}\n", clean(h))).unwrap_or_default();
        format!("error in {}: {}\n{hint}", clean(&failure.phase), clean(&failure.message))
    }

    /// As Markdown for the step summary.
    pub fn summary(&self) -> String {
        use super::summary::{block, escape};
        let sign = self.verdict.sign();
        let headline =
            if self.headline.is_empty() { format!("savepoint {}", self.verb) } else { self.headline.clone() };
        let mut out = format!("## {sign} {}\n\n", escape(&headline));
        if let Some(failure) = &self.failure {
            let _ = writeln!(out, "**Error in {}:** {}\n", escape(&failure.phase), escape(&failure.message));
            if let Some(hint) = &failure.hint {
                let _ = writeln!(out, "**Hint:** {}\n", escape(hint));
            }
        }
        if !self.facts.is_empty() {
            out.push_str("| | |\n|---|---|\n");
            for (name, value) in &self.facts {
                let _ = writeln!(out, "| {} | {} |", escape(name), escape(value));
            }
        }
        for table in self.tables.iter().filter(|t| !t.rows.is_empty()) {
            if !table.title.is_empty() {
                let _ = write!(out, "\n**{}**\n", escape(&table.title));
            }
            let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
            let rules: Vec<&str> =
                table.columns.iter().map(|(_, number)| if *number { "---:" } else { "---" }).collect();
            let _ = write!(out, "\n| {} |\n|{}|\n", names.join(" | "), rules.join("|"));
            for row in table.rows.iter().take(LINES) {
                let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
                let _ = writeln!(out, "| {} |", cells.join(" | "));
            }
            if table.rows.len() > LINES {
                out.push('\n');
            }
            more(&mut out, table.rows.len(), "");
        }
        let (warnings, notices) = (("warnings", self.warnings.clone()), ("notices", self.notices.clone()));
        for (title, items) in self.lists.iter().chain([&warnings, &notices]).filter(|(_, items)| !items.is_empty()) {
            let mut title = (*title).to_owned();
            if let Some(first) = title.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            let _ = writeln!(out, "\n**{}**\n", escape(&title));
            for item in items.iter().take(LINES) {
                let _ = writeln!(out, "- {}", escape(item));
            }
            more(&mut out, items.len(), "- ");
        }
        for (title, commands) in self.commands.iter().filter(|(_, commands)| !commands.is_empty()) {
            let code = block("sh", &commands.join("\n"));
            let _ = write!(out, "\n<details><summary>{}</summary>\n\n{code}\n</details>\n", escape(title));
        }
        out
    }

    /// What `--json` prints.
    pub fn json(&self) -> Value {
        let mut object = json!({
            "format": super::json::FORMAT, "command": self.verb, "exit_code": self.exit_code, "failure": self.failure,
            "warnings": self.warnings, "notices": self.notices,
        });
        if let (Some(all), Value::Object(own)) = (object.as_object_mut(), &self.json) {
            all.extend(own.clone());
        }
        object
    }

    /// As a Slack message, within Slack's limits (see [`super::slack`]).
    pub fn slack(&self, context: &RunContext) -> Value {
        use super::slack::{escape, section};
        let sign = self.verdict.sign();
        let headline = format!("{sign} {}", self.headline);
        let mut blocks = vec![json!({
            "type": "header", "text": { "type": "plain_text", "text": clip(&headline, 150), "emoji": false }
        })];
        if let Some(failure) = &self.failure {
            let mut text = format!("*Failed in {}:* {}", escape(&failure.phase, 50), escape(&failure.message, 350));
            if let Some(hint) = &failure.hint {
                let _ = write!(text, "\n*Hint:* {}", escape(hint, 150));
            }
            blocks.push(section(text));
        }
        let fields: Vec<Value> = self
            .facts
            .iter()
            .take(10)
            .map(|(name, value)| json!({ "type": "mrkdwn", "text": format!("*{name}*\n{}", escape(value, 350)) }))
            .collect();
        if !fields.is_empty() {
            blocks.push(json!({ "type": "section", "fields": fields }));
        }
        for (title, items) in self.lists.iter().filter(|(_, items)| !items.is_empty()).take(5) {
            let mut text = format!("*{}*\n", escape(title, 100));
            for item in items.iter().take(5) {
                let _ = writeln!(text, "• {}", escape(item, 100));
            }
            if items.len() > 5 {
                let _ = write!(text, "… and {} more", items.len() - 5);
            }
            blocks.push(section(text));
        }
        if !self.warnings.is_empty() {
            let lines: String = self.warnings.iter().take(3).map(|w| format!("⚠️ {}\n", escape(w, 150))).collect();
            blocks.push(section(lines));
        }
        blocks.extend(super::slack::context_block(context));
        json!({ "text": escape(&headline, 300), "blocks": blocks })
    }
}

fn more(out: &mut String, length: usize, indent: &str) {
    if length > LINES {
        let _ = writeln!(out, "{indent}… and {} more", count((length - LINES) as u64));
    }
}

fn aligned(table: &Table) -> String {
    if table.rows.is_empty() {
        return String::new();
    }
    let shown = if table.whole { table.rows.len() } else { table.rows.len().min(LINES) };
    let cells: Vec<Vec<String>> =
        table.rows.iter().take(shown).map(|row| row.iter().map(|cell| clean(cell).into_owned()).collect()).collect();
    let width = |n: usize| {
        let header = table.columns.get(n).map_or(0, |(name, _)| name.chars().count());
        cells.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(header)
    };
    let widths: Vec<usize> = (0..table.columns.len()).map(width).collect();
    let mut out = String::from("\n");
    if !table.title.is_empty() {
        let _ = writeln!(out, "{}:", clean(&table.title));
    }
    let header: Vec<String> = table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    for row in std::iter::once(&header).chain(&cells) {
        let mut line = String::from(" ");
        for ((cell, width), (_, number)) in row.iter().zip(&widths).zip(&table.columns) {
            let _ = if *number { write!(line, " {cell:>width$} ") } else { write!(line, " {cell:<width$} ") };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if shown < table.rows.len() {
        more(&mut out, table.rows.len(), "  ");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn page() -> Page {
        Page {
            verdict: Verdict::Doubtful,
            facts: vec![("backup", "20261122T030000Z-manual-1a2b3c4".into()), ("size", "1.0 MiB".into())],
            tables: vec![Table {
                title: "tables".into(),
                columns: vec![("rows", true), ("table", false)],
                rows: vec![vec!["1,000".into(), "public.or\u{1b}ders|x".into()], vec!["7".into(), "::error::x".into()]],
                whole: false,
            }],
            lists: vec![
                ("differences", (0..7).map(|n| format!("table t{n}: <b> differs")).collect()),
                ("none", vec![]),
            ],
            commands: vec![("restore without us", vec!["pg_restore -d \"$TARGET\" ./archive".into()])],
            warnings: vec!["that was close".into()],
            ..Page::new("verify", "app: restored, but it differs")
        }
    }

    #[test]
    fn a_page_as_people_see_it() {
        let page = page();
        let context = RunContext::default();
        let shown = format!(
            "{}\n=====\n{}\n=====\n{:#}\n=====\n{:#}",
            page.terminal(),
            page.summary(),
            page.slack(&context),
            page.json()
        );
        assert!(!shown.contains('\u{1b}'));
        assert!(!page.terminal().lines().any(|l| l.starts_with("::")));
        insta::assert_snapshot!("page", shown);
    }

    #[test]
    fn a_failure_names_its_cure() {
        let error = Error::new(Kind::Refused, "database app holds tables").hint("use --create NAME");
        let page = Page::failed("restore", "plan", &error);
        assert_eq!(page.failure_text(), "error in plan: database app holds tables\n  hint: use --create NAME\n");
        assert_eq!((page.exit_code, page.verdict), (1, Verdict::Bad));
    }

    #[test]
    fn a_table_that_was_asked_for_is_shown_whole() {
        let mut page = Page::new("list", "");
        let rows = (0..60).map(|n| vec![n.to_string()]).collect();
        page.tables = vec![Table { title: String::new(), columns: vec![("n", true)], rows, whole: true }];
        assert_eq!(page.terminal().lines().filter(|l| !l.is_empty()).count(), 61);
        page.tables[0].whole = false;
        assert!(page.terminal().ends_with("  … and 10 more\n"), "{}", page.terminal());
    }
}
