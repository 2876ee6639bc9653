//! A backup's result as Markdown: how it ended, what is wrong, then the rest.

use super::trend;
use crate::{
    report::{
        BackupReport,
        format::{bytes, count, counted, seconds, short},
        largest,
        render::{
            markdown::{block, details, escape, failed, list},
            timeline,
        },
    },
    vault::manifest::Table,
};
use std::fmt::Write as _;

pub(super) fn backup(report: &BackupReport) -> String {
    let mut out = format!("## {} {}\n\n", report.verdict().sign(), escape(&headline(report)));
    out.extend(report.failure.as_ref().map(failed));
    if let Some(rehearsal) = &report.rehearsal {
        list(&mut out, "❌ Why the rehearsal failed", &rehearsal.problems);
    }
    list(&mut out, "⚠️ Anomalies", &report.anomalies);
    if let Some(proof) = &report.proof {
        list(&mut out, "❌ Differences", &proof.differences);
    }
    list(&mut out, "⚠️ Warnings", &report.warnings);
    out.push_str("\n| | |\n|---|---|\n");
    for (name, value) in report.facts() {
        let _ = writeln!(out, "| {name} | {} |", escape(&value));
    }
    if let Some(proof) = report.proof_line() {
        let _ = writeln!(out, "| proof | {} |", escape(&proof));
    }
    if let Some(backup) = &report.backup {
        tables(&mut out, report, &backup.manifest.tables);
    }
    if let Some(rehearsal) = &report.rehearsal {
        for (title, lines) in rehearsal.lists() {
            let title = format!("Rehearsal: {title}");
            list(&mut out, &title, &lines);
        }
        details(&mut out, &rehearsal.details());
    }
    if !report.phases.is_empty() {
        let _ = write!(out, "\n**Time**\n\n{}", block("text", &timeline::lines(&report.phases).join("\n")));
    }
    out.push_str(&trend::charts(&report.past.trend));
    if let Some(proof) = &report.proof {
        list(&mut out, "Not proven", &proof.unproven);
    }
    if let Some(backup) = &report.backup {
        list(&mut out, "Left out", &backup.manifest.left_out);
    }
    list(&mut out, "Notices", &report.notices);
    let commands = report.restore_commands();
    if !commands.is_empty() {
        out.push_str("\n<details><summary>Restore without savepoint</summary>\n\n");
        out.push_str(&block("sh", &commands.join("\n")));
        out.push_str("\n</details>\n");
    }
    out
}

/// How it ended, with the numbers that a reader in a hurry wants.
fn headline(report: &BackupReport) -> String {
    let Some(backup) = &report.backup else { return report.headline() };
    let totals = &backup.manifest.totals;
    let restored = report.proof.as_ref().filter(|p| p.proves_a_restore()).and_then(|p| p.timings.get("restore"));
    let restored = restored.map(|time| format!(", a restore took {}", seconds(*time))).unwrap_or_default();
    format!(
        "{} – {} row{} in {}, {} in {}{restored}",
        report.headline(),
        short(totals.rows),
        if totals.rows == 1 { "" } else { "s" },
        counted(totals.tables, "table"),
        bytes(totals.stored_bytes),
        seconds(stored_within(report)),
    )
}

/// Seconds until all was stored, or of the whole run where that is not known.
fn stored_within(report: &BackupReport) -> f64 {
    let commit = report.phases.iter().find(|p| p.name == "commit");
    commit.map_or(report.seconds, |p| p.from + p.seconds)
}

/// The largest tables, and what became of them since the backup before.
fn tables(out: &mut String, report: &BackupReport, all: &[Table]) {
    let shown = largest(all);
    if shown.is_empty() {
        return;
    }
    let title = match all.len() - shown.len() {
        0 => counted(shown.len() as u64, "table"),
        _ => format!("The {} with most data", counted(shown.len() as u64, "table")),
    };
    let _ = writeln!(out, "\n**{title}**\n");
    let before = report.before.as_ref();
    match before {
        Some(before) => {
            let _ = write!(
                out,
                "| table | rows | since {} | size | since then |\n|---|---:|---:|---:|---:|\n",
                escape(&before.id)
            );
        }
        None => out.push_str("| table | rows | size |\n|---|---:|---:|\n"),
    }
    for table in shown {
        let name = escape(&format!("{}.{}", table.schema, table.name));
        let (rows, size) = (count(table.rows), bytes(table.bytes));
        let _ = match before {
            None => writeln!(out, "| {name} | {rows} | {size} |"),
            Some(before) => {
                let was = before.tables.get(&(table.schema.clone(), table.name.clone()));
                let rows_since = was.map_or_else(|| "new".to_owned(), |was| change(was.rows, table.rows, count));
                let size_since = was.map_or_else(|| "new".to_owned(), |was| change(was.bytes, table.bytes, bytes));
                writeln!(out, "| {name} | {rows} | {rows_since} | {size} | {size_since} |")
            }
        };
    }
}

/// By how much something grew or shrank: `+1,234 (+3.4 %)`.
fn change(was: u64, is: u64, shown: impl Fn(u64) -> String) -> String {
    if was == is {
        return "±0".into();
    }
    let sign = if is > was { '+' } else { '−' };
    let percent = match was {
        0 => String::new(),
        _ => format!(" ({sign}{:.1} %)", was.abs_diff(is) as f64 / was as f64 * 100.0),
    };
    format!("{sign}{}{percent}", shown(was.abs_diff(is)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn results_as_people_see_them() {
        for (name, report) in fixture::all() {
            let text = backup(&report);
            assert!(!text.lines().any(|l| l.trim_start().starts_with("::")), "{text}");
            insta::assert_snapshot!(format!("summary_{name}"), text);
        }
    }

    #[test]
    fn a_change_has_a_sign() {
        let of = |was, is| change(was, is, count);
        assert_eq!(of(5, 5), "±0");
        assert_eq!(of(0, 5), "+5");
        assert_eq!(of(1000, 1100), "+100 (+10.0 %)");
        assert_eq!(of(1000, 0), "−1,000 (−100.0 %)");
    }

    /// A step's summary may have 1 MiB; one that is larger is not shown at all
    /// (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#adding-a-job-summary>).
    #[test]
    fn ten_thousand_tables_fit() {
        let mut report = fixture::hostile();
        let name = "<&>*_[x](y)`@".repeat(5);
        let line = format!("table {name}: {}", "<&>*_".repeat(2000));
        if let Some(backup) = &mut report.backup {
            let table = backup.manifest.tables[0].clone();
            let of = |n: u64| Table { name: format!("{name}{n}"), bytes: n, ..table.clone() };
            backup.manifest.tables = (0..10_000).map(of).collect();
            backup.manifest.left_out = vec![line.clone(); 10_000];
        }
        if let Some(proof) = &mut report.proof {
            proof.differences = vec![line.clone(); 10_000];
            proof.unproven = vec![line.clone(); 10_000];
        }
        for lines in [&mut report.anomalies, &mut report.warnings, &mut report.notices] {
            *lines = vec![line.clone(); 10_000];
        }
        report.past.trend = fixture::grown().past.trend;
        let text = backup(&report);
        assert!(text.len() < 1 << 20, "{} bytes", text.len());
        assert!(text.contains("9,950 more"), "what is left out is said");
    }
}
