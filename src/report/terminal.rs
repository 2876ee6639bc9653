//! What a person reads at the end of a run: plain aligned text.

use super::{
    Check, PlanReport, Report, Status,
    format::{bytes, clean, count, counted, seconds},
};
use crate::vault::manifest::TakenBy;
use std::fmt::Write as _;

/// As many lines of a list as a terminal is good for.
const LIST: usize = 50;

/// A backup's result: headline, facts, time per phase, proof, differences, and how to restore without this program.
pub fn backup(report: &Report) -> String {
    let mut out = format!("{}\n\n", report.headline());
    for (name, value) in report.facts() {
        line(&mut out, name, &value);
        if name == "time" {
            for (phase, time) in &report.phases {
                line(&mut out, "", &format!("{phase:<9} {:>10}", seconds(*time)));
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

/// A plan: what would be taken, by which tools, and what stands in the way.
pub fn plan(plan: &PlanReport) -> String {
    let mut out = format!("{}: plan of a backup, nothing touched\n\n", clean(&plan.database));
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
        for table in plan.tables.iter().take(LIST) {
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
pub fn checks(checks: &[Check]) -> String {
    let width = checks.iter().map(|c| c.name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warning => "warn",
            Status::Failed => "FAIL",
            Status::Skipped => "skip",
        };
        let _ = writeln!(out, "{status:<4}  {:<width$}  {}", clean(&check.name), clean(&check.detail));
        if let Some(hint) = check.hint.as_ref().filter(|_| check.status != Status::Ok) {
            let _ = writeln!(out, "      hint: {}", clean(hint));
        }
    }
    out
}

/// Why a run failed, with its cure: for stderr, so that it is seen when stdout goes to a file. Empty for a run that did not fail.
pub fn failure(report: &Report) -> String {
    let mut out = String::new();
    if let Some(failure) = &report.failure {
        let _ = writeln!(out, "error in {}: {}", clean(&failure.phase), clean(&failure.message));
        if let Some(hint) = &failure.hint {
            let _ = writeln!(out, "  hint: {}", clean(hint));
        }
    } else if let Some(proof) = report.proof.as_ref().filter(|p| !p.passed) {
        let first = proof.differences.first().map(String::as_str).unwrap_or_default();
        let more = match proof.differences.len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let _ = writeln!(out, "error: the backup is stored, but its proof failed: {}{more}", clean(first));
    } else if let Some(pruned) = &report.pruned
        && let Some(message) = &pruned.failure
    {
        let _ = writeln!(out, "error: the backup is stored and proven, but pruning failed: {}", clean(message));
        if let Some(hint) = &pruned.hint {
            let _ = writeln!(out, "  hint: {}", clean(hint));
        }
    } else if let Some(first) = report.anomalies.first().filter(|_| report.exit_code() != 0) {
        let more = match report.anomalies.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let _ = writeln!(out, "error: the backup is stored, but fail-on-anomaly is set: {}{more}", clean(first));
    }
    out
}

fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:<11}  {}", clean(value));
}

fn list(out: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{title}:");
    for item in items.iter().take(LIST) {
        let _ = writeln!(out, "  - {}", clean(item));
    }
    more(out, items.len());
}

fn more(out: &mut String, length: usize) {
    if length > LIST {
        let _ = writeln!(out, "  … and {} more", count((length - LIST) as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;

    #[test]
    fn results_as_people_see_them() {
        for (name, report) in fixture::all() {
            let text = super::backup(&report);
            assert!(!text.lines().any(|l| l.trim_start().starts_with("::")), "{text}");
            insta::assert_snapshot!(format!("terminal_{name}"), text);
        }
    }

    #[test]
    fn plan_and_checks_as_people_see_them() {
        insta::assert_snapshot!("terminal_plan", super::plan(&fixture::plan()));
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let mut report = fixture::proof_failed();
        if let Some(proof) = &mut report.proof {
            proof.differences = (0..1060).map(|i| format!("table t{i}")).collect();
        }
        let text = super::backup(&report);
        assert!(text.contains("  - table t49\n  … and 1,010 more\n"), "{text}");
    }
}
