//! The step summary of a GitHub Actions run: Markdown.

mod backup;
mod trend;

use super::{
    renderer::{LINES, Renderer},
    terminal,
};
use crate::{
    report::{
        Checks, Failure, Page, PlanReport, Report,
        format::{clean, clip, count},
        page::Table,
    },
    vault::RunContext,
};
use std::fmt::Write as _;

/// Renders for the step summary.
#[derive(Debug)]
pub struct Summary;

impl Renderer for Summary {
    fn name(&self) -> &'static str {
        "summary"
    }

    fn render(&self, report: &Report, _context: &RunContext) -> String {
        match report {
            Report::Backup(report) => backup::backup(report),
            Report::Plan(plan) => self::plan(plan),
            Report::Checks(checks) => self::checks(checks),
            Report::Page(page) => self::page(page),
        }
    }
}

/// Characters of a line of a list: a summary of more than 1 MiB is not shown at all.
const LINE: usize = 400;

/// A plan as Markdown.
fn plan(plan: &PlanReport) -> String {
    let title = escape(&plan.headline());
    format!("## {title}\n\n{}", block("text", &terminal::plan_text(plan)))
}

/// The preflight questions as Markdown.
fn checks(checks: &Checks) -> String {
    let sign = if checks.failed() == 0 { "✅" } else { "❌" };
    format!("## {sign} {}\n\n{}", checks.headline(), block("text", &terminal::checks_text(&checks.0)))
}

/// Any other verb as Markdown.
fn page(page: &Page) -> String {
    let sign = page.verdict.sign();
    let headline = if page.headline.is_empty() { format!("savepoint {}", page.verb) } else { page.headline.clone() };
    let mut out = format!("## {sign} {}\n\n", escape(&headline));
    out.extend(page.failure.as_ref().map(failed));
    if !page.facts.is_empty() {
        out.push_str("| | |\n|---|---|\n");
        for (name, value) in &page.facts {
            let _ = writeln!(out, "| {} | {} |", escape(name), escape(value));
        }
    }
    for table in page.tables.iter().filter(|t| !t.rows.is_empty()) {
        rows(&mut out, table);
    }
    for (title, items) in &page.lists {
        list(&mut out, &escape(&capitalised(title)), items);
    }
    list(&mut out, "Warnings", &page.warnings);
    list(&mut out, "Notices", &page.notices);
    out.extend(page.script.as_ref().map(|script| format!("\n{}", block("sql", script))));
    for (title, commands) in page.commands.iter().filter(|(_, commands)| !commands.is_empty()) {
        let code = block("sh", &commands.join("\n"));
        let _ = write!(out, "\n<details><summary>{}</summary>\n\n{code}\n</details>\n", escape(title));
    }
    out
}

/// A table as Markdown.
fn rows(out: &mut String, table: &Table) {
    if !table.title.is_empty() {
        let _ = write!(out, "\n**{}**\n", escape(&table.title));
    }
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let rules: Vec<&str> = table.columns.iter().map(|(_, number)| if *number { "---:" } else { "---" }).collect();
    let _ = write!(out, "\n| {} |\n|{}|\n", names.join(" | "), rules.join("|"));
    for row in table.rows.iter().take(LINES) {
        let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    if table.rows.len() > LINES {
        out.push('\n');
    }
    more(out, table.rows.len(), "");
}

fn capitalised(title: &str) -> String {
    let mut title = title.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// What failed, with its cure.
fn failed(failure: &Failure) -> String {
    let mut out = format!("**Error in {}:** {}\n\n", escape(&failure.phase), escape(&failure.message));
    if let Some(hint) = &failure.hint {
        let _ = writeln!(out, "**Hint:** {}\n", escape(hint));
    }
    out
}

fn more(out: &mut String, length: usize, indent: &str) {
    if length > LINES {
        let _ = writeln!(out, "{indent}… and {} more", count((length - LINES) as u64));
    }
}

fn list(out: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n**{title}**\n");
    for item in items.iter().take(LINES) {
        let _ = writeln!(out, "- {}", escape(&clip(item, LINE)));
    }
    more(out, items.len(), "- ");
}

/// Text that stays text in Markdown: one line, and each character that could begin markup, a mention or a link as a
/// numeric entity, which CommonMark never reads as structure
/// (<https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references>).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '#' | '+' | '!' | '|' | '&' | '~' | '@'
            | '$' | '"' => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            // A plain colon stays legible; one that would make a link or an emoji does not.
            ':' if !out.ends_with(|c: char| c.is_ascii_digit()) => out.push_str("&#58;"),
            _ => out.push(c),
        }
    }
    out
}

/// A fenced block whose fence is longer than any run of backticks inside it.
fn block(language: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn plan_and_checks() {
        let plan = fixture::plan();
        insta::assert_snapshot!("summary_checks", checks(&Checks(plan.checks.clone())));
        assert!(super::plan(&plan).contains("```text\n"));
    }

    #[test]
    fn names_cannot_become_markup_or_close_a_fence() {
        assert_eq!(escape("<b>|`x`\n# @all"), "&#60;b&#62;&#124;&#96;x&#96;\\n&#35; &#64;all".replace("\\n", "&#92;n"));
        assert!(block("text", "a\n````\nb").starts_with("`````text\n"));
    }
}
