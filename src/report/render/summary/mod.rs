//! The step summary of a GitHub Actions run: Markdown.

mod backup;
mod trend;

use super::{
    markdown::{block, details, escape, failed, list, more},
    renderer::{LINES, Renderer},
    terminal,
};
use crate::{
    report::{Checks, Page, PlanReport, Report, format::capitalised, page::Table},
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
    details(&mut out, &page.details);
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
}
