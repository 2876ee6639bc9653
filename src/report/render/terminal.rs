//! What a person reads at the end of a run: plain aligned text.

use super::{
    paper::{HANG, Paper},
    renderer::{LINES, Renderer},
};
use crate::{
    error::Error,
    report::{
        BackupReport, Check, Failure, Page, PhaseTime, PlanReport, Report, Status,
        format::{bytes, clean, count, counted, seconds},
        page::{Table, Verdict},
        rehearsal::PROBLEMS,
    },
    vault::{RunContext, manifest::TakenBy},
};
use anstyle::AnsiColor;
use std::fmt::Write as _;

/// Renders for a terminal, or for a log or file.
#[derive(Debug)]
pub struct Terminal(pub Paper);

/// Renders for a log or file: as wide as a line is, without colours.
pub const PLAIN: Terminal = Terminal(Paper { width: None, colour: false });

impl Renderer for Terminal {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn render(&self, report: &Report, _context: &RunContext) -> String {
        let paper = self.0;
        let (text, verdict) = match report {
            Report::Backup(report) => (backup(report), Some(report.verdict())),
            Report::Plan(plan) => (self::plan(plan), None),
            Report::Checks(checks) => (self::checks(&checks.0), None),
            // For another program, byte by byte.
            Report::Page(page) if page.script.is_some() => return page.script.clone().unwrap_or_default(),
            Report::Page(page) => (self::page(page, paper), Some(page.verdict)),
        };
        let text = paper.lay_out(&text);
        match (text.split_once('\n'), verdict) {
            (Some((headline, rest)), Some(verdict)) => {
                format!("{}\n{rest}", paper.headline(headline, colour(verdict)))
            }
            _ => text,
        }
    }
}

fn colour(verdict: Verdict) -> AnsiColor {
    match verdict {
        Verdict::Good => AnsiColor::Green,
        Verdict::Doubtful => AnsiColor::Yellow,
        Verdict::Bad => AnsiColor::Red,
    }
}

/// A backup's result: headline, facts, time per phase, proof, differences, and how to restore without this program.
fn backup(report: &BackupReport) -> String {
    let mut out = format!("{HANG}{}\n\n", report.headline());
    for (name, value) in report.facts() {
        line(&mut out, name, &value);
        if name == "time" {
            for PhaseTime { name, seconds: time, .. } in &report.phases {
                line(&mut out, "", &format!("{name:<9} {:>10}", seconds(*time)));
            }
        }
    }
    if let Some(proof) = report.proof_line() {
        line(&mut out, "proof", &proof);
    }
    if let Some(proof) = &report.proof {
        list(&mut out, "differences", &proof.differences);
        list(&mut out, "not proven", &proof.unproven);
    }
    if let Some(backup) = &report.backup {
        list(&mut out, "left out", &backup.manifest.left_out);
    }
    if let Some(rehearsal) = &report.rehearsal {
        list(&mut out, PROBLEMS, &rehearsal.problems);
        for (title, lines) in rehearsal.lists() {
            list(&mut out, title, &lines);
        }
    }
    list(&mut out, "anomalies", &report.anomalies);
    list(&mut out, "warnings", &report.warnings);
    let commands = report.restore_commands();
    if !commands.is_empty() {
        out.push_str("\nrestore without us:\n");
        for command in commands {
            let _ = writeln!(out, "  {command}");
        }
    }
    out
}

/// A plan as text of any width.
pub(super) fn plan_text(plan: &PlanReport) -> String {
    PLAIN.0.lay_out(&self::plan(plan))
}

/// The preflight questions as text of any width.
pub(super) fn checks_text(checks: &[Check]) -> String {
    PLAIN.0.lay_out(&self::checks(checks))
}

/// A plan: what would be taken, by which tools, and what stands in the way.
fn plan(plan: &PlanReport) -> String {
    let mut out = format!("{HANG}{}\n\n", clean(&plan.headline()));
    let total: u64 = plan.tables.iter().map(|t| t.bytes).sum();
    line(&mut out, "source", &format!("{}, PostgreSQL {}", plan.source, plan.server_version));
    line(&mut out, "to", &plan.uri);
    line(&mut out, "content", &format!("{}, {} on disk", counted(plan.tables.len() as u64, "table"), bytes(total)));
    line(&mut out, "by", &format!("{}, {}", counted(plan.jobs.into(), "connection"), plan.compression));
    for (i, (name, path)) in plan.tools.iter().enumerate() {
        line(&mut out, if i == 0 { "tools" } else { "" }, &format!("{name} {path}"));
    }
    let extensions: Vec<String> = plan.extensions.iter().map(|e| format!("{} {}", e.name, e.version)).collect();
    if !extensions.is_empty() {
        line(&mut out, "extensions", &extensions.join(", "));
    }
    if !plan.tables.is_empty() {
        out.push_str("\n        size  rows (estimate)  pieces  table\n");
        for table in plan.tables.iter().take(LINES) {
            let rows = u64::try_from(table.rows_estimate).map_or_else(|_| "unknown".into(), count);
            let by = if table.taken_by == TakenBy::PgDump { " (by pg_dump)" } else { "" };
            let name = format!("{}.{}", table.schema, table.name);
            let (size, pieces) = (bytes(table.bytes), count(table.chunks));
            let _ = writeln!(out, "  {size:>10} {rows:>16} {pieces:>7}  {}{by}", clean(&name));
        }
        more(&mut out, plan.tables.len());
    }
    list(&mut out, "left out", &plan.left_out);
    list(&mut out, "not proven", &plan.unproven);
    if !plan.checks.is_empty() {
        out.push('\n');
        out.push_str(&checks(&plan.checks));
    }
    out
}

/// A line per preflight question, the cure under each that failed.
fn checks(checks: &[Check]) -> String {
    let width = checks.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warning => "warn",
            Status::Failed => "FAIL",
            Status::Skipped => "skip",
        };
        let _ = writeln!(out, "{status:<4}  {:<width$}  {HANG}{}", clean(&check.name), clean(&check.detail));
        if let Some(hint) = check.hint.as_ref().filter(|_| check.status != Status::Ok) {
            let _ = writeln!(out, "      hint: {HANG}{}", clean(hint));
        }
    }
    out
}

/// Any other verb.
fn page(page: &Page, paper: Paper) -> String {
    let mut out = String::new();
    if !page.headline.is_empty() {
        let _ = writeln!(out, "{HANG}{}", clean(&page.headline));
    }
    if !out.is_empty() && !page.facts.is_empty() {
        out.push('\n');
    }
    let width = page.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(11);
    for (name, value) in &page.facts {
        let _ = writeln!(out, "  {name:<width$}  {HANG}{}", clean(value));
    }
    for table in &page.tables {
        out.push_str(&aligned(table, paper));
    }
    for (title, items) in &page.lists {
        list(&mut out, title, items);
    }
    list(&mut out, "warnings", &page.warnings);
    for (title, commands) in page.commands.iter().filter(|(_, commands)| !commands.is_empty()) {
        let _ = writeln!(out, "\n{title}:");
        for command in commands {
            let _ = writeln!(out, "  {}", clean(command));
        }
    }
    out
}

fn aligned(table: &Table, paper: Paper) -> String {
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
    if paper.is_narrower(widths.iter().map(|width| width + 2).sum()) {
        for row in &cells {
            stacked(&mut out, table, row);
        }
        if shown < table.rows.len() {
            more(&mut out, table.rows.len());
        }
        return out;
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
        more(&mut out, table.rows.len());
    }
    out
}

/// A row too wide to be one: a line for each cell that holds something.
fn stacked(out: &mut String, table: &Table, row: &[String]) {
    let width = table.columns.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (n, ((name, _), cell)) in table.columns.iter().zip(row).enumerate().filter(|(_, (_, cell))| !cell.is_empty()) {
        let first = if n == 0 { "-" } else { " " };
        let _ = writeln!(out, "  {first} {name:<width$}  {HANG}{cell}");
    }
}

/// Why a run failed, with its cure: for stderr, so that it is seen when stdout goes to a file. Empty for a run that did not fail.
pub fn failure(report: &Report, paper: Paper) -> String {
    paper.lay_out(&match report {
        Report::Backup(report) => failed_backup(report),
        Report::Page(page) => page.failure.as_ref().map(failed).unwrap_or_default(),
        Report::Plan(_) | Report::Checks(_) => String::new(),
    })
}

/// The same of an error before there was a report.
pub fn error(error: &Error, paper: Paper) -> String {
    let hint = error.hint_text().map(|hint| format!("  hint: {HANG}{}\n", clean(hint))).unwrap_or_default();
    paper.lay_out(&format!("error: {HANG}{}\n{hint}", clean(&error.one_line())))
}

fn failed(failure: &Failure) -> String {
    let hint = failure.hint.as_ref().map(|h| format!("  hint: {HANG}{}\n", clean(h))).unwrap_or_default();
    format!("error in {}: {HANG}{}\n{hint}", clean(&failure.phase), clean(&failure.message))
}

fn failed_backup(report: &BackupReport) -> String {
    let mut out = String::new();
    if let Some(failure) = &report.failure {
        out = failed(failure);
    } else if let Some(proof) = report.proof.as_ref().filter(|p| !p.passed) {
        let first = proof.differences.first().map(String::as_str).unwrap_or_default();
        let more = match proof.differences.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let _ = writeln!(out, "error: {HANG}the backup is stored, but its proof failed: {}{more}", clean(first));
    } else if let Some(copy) = report.lost_copy().filter(|_| report.exit_code() == 4) {
        let why = copy.why.as_deref().unwrap_or("it holds no good copy");
        let _ =
            writeln!(out, "error: {HANG}the backup is stored, but not in {}: {}", clean(&copy.destination), clean(why));
        if let Some(hint) = &copy.hint {
            let _ = writeln!(out, "  hint: {HANG}{}", clean(hint));
        }
    } else if let Some(rehearsal) = report.rehearsal.as_ref().filter(|r| !r.passed()) {
        let first = rehearsal.problems.first().map(String::as_str).unwrap_or_default();
        let more = match rehearsal.problems.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let _ = writeln!(
            out,
            "error: {HANG}the backup is stored and proven, but the rehearsal failed: {}{more}",
            clean(first)
        );
        let _ = writeln!(
            out,
            "  hint: {HANG}the source was not touched; mend the migration, or raise the limit that it passed"
        );
    } else if let Some(pruned) = &report.pruned
        && let Some(message) = &pruned.failure
    {
        let _ = writeln!(out, "error: {HANG}the backup is stored and proven, but pruning failed: {}", clean(message));
        if let Some(hint) = &pruned.hint {
            let _ = writeln!(out, "  hint: {HANG}{}", clean(hint));
        }
    } else if let Some(first) = report.anomalies.first().filter(|_| report.exit_code() != 0) {
        let more = match report.anomalies.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let _ = writeln!(out, "error: {HANG}the backup is stored, but fail-on-anomaly is set: {}{more}", clean(first));
    }
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<11}  {HANG}{}", clean(value));
}

fn list(out: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}:");
    for item in items.iter().take(LINES) {
        let _ = writeln!(out, "  - {HANG}{}", clean(item));
    }
    more(out, items.len());
}

fn more(out: &mut String, length: usize) {
    if length > LINES {
        let _ = writeln!(out, "  … and {} more", count((length - LINES) as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn results_as_people_see_them() {
        for (name, report) in fixture::all() {
            let text = PLAIN.render(&report.clone().into(), &RunContext::default());
            assert!(!text.lines().any(|l| l.trim_start().starts_with("::")), "{text}");
            insta::assert_snapshot!(format!("terminal_{name}"), text);
        }
    }

    #[test]
    fn plan_and_checks_as_people_see_them() {
        insta::assert_snapshot!("terminal_plan", PLAIN.render(&fixture::plan().into(), &RunContext::default()));
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let mut report = fixture::proof_failed();
        if let Some(proof) = &mut report.proof {
            proof.differences = (0..1060).map(|i| format!("table t{i}")).collect();
        }
        let text = PLAIN.render(&report.into(), &RunContext::default());
        assert!(text.contains("  - table t49\n  … and 1,010 more\n"), "{text}");
    }

    fn shown(page: &Page) -> String {
        PLAIN.render(&page.clone().into(), &RunContext::default())
    }

    #[test]
    fn every_width_down_to_forty_is_kept() {
        for width in [40, 60, 100] {
            let paper = Paper { width: Some(width), colour: false };
            for (name, report) in fixture::all() {
                let text = Terminal(paper).render(&report.into(), &RunContext::default());
                let facts = text.split("\nrestore without us:").next().unwrap_or_default();
                for line in facts.lines().filter(|line| line.chars().count() > width) {
                    // Only what cannot be broken.
                    assert_eq!(line.split_whitespace().count(), 1, "{name} at {width}: {line}");
                }
            }
            let text = Terminal(paper).render(&fixture::overview().page().into(), &RunContext::default());
            insta::assert_snapshot!(format!("terminal_at_{width}"), text);
        }
    }

    #[test]
    fn a_table_that_was_asked_for_is_shown_whole() {
        let mut list = Page::new("list", "");
        let rows = (0..60).map(|n| vec![n.to_string()]).collect();
        list.tables = vec![Table { title: String::new(), columns: vec![("n", true)], rows, whole: true }];
        assert_eq!(shown(&list).lines().filter(|l| !l.is_empty()).count(), 61);
        list.tables[0].whole = false;
        assert!(shown(&list).ends_with("  … and 10 more\n"), "{}", shown(&list));
    }
}
