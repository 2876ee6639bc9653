//! The step summary of a GitHub Actions run: Markdown.

use super::{
    Check, Outcome, PlanReport, Report, Status,
    format::{bytes, clean, count, counted, seconds},
    terminal,
};
use std::fmt::Write as _;

/// The largest tables that are worth a line.
const TABLES: usize = 10;
/// As many lines of a list as a page is good for.
const LIST: usize = 50;

/// A backup's result as Markdown.
pub fn backup(report: &Report) -> String {
    let sign = match report.outcome {
        Outcome::Proven if report.exit_code() == 0 => "✅",
        Outcome::Proven | Outcome::Stored => "⚠️",
        Outcome::ProofFailed | Outcome::Failed => "❌",
    };
    let mut out = format!("## {sign} {}\n\n", escape(&report.headline()));
    if let Some(failure) = &report.failure {
        let _ = writeln!(out, "**Error in {}:** {}\n", escape(&failure.phase), escape(&failure.message));
        if let Some(hint) = &failure.hint {
            let _ = writeln!(out, "**Hint:** {}\n", escape(hint));
        }
    }
    out.push_str("| | |\n|---|---|\n");
    for (name, value) in report.facts() {
        let _ = writeln!(out, "| {name} | {} |", escape(&value));
    }
    if !report.phases.is_empty() {
        let phases: Vec<String> =
            report.phases.iter().map(|(phase, time)| format!("{} {}", escape(phase), seconds(*time))).collect();
        let _ = writeln!(out, "| phases | {} |", phases.join(", "));
    }
    if let Some(proof) = report.proof_line() {
        let _ = writeln!(out, "| proof | {} |", escape(&proof));
    }
    if let Some(proof) = &report.proof {
        list(&mut out, "Differences", &proof.differences);
        list(&mut out, "Not proven", &proof.unproven);
    }
    if let Some(backup) = &report.backup {
        let mut tables: Vec<_> = backup.manifest.tables.iter().collect();
        tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (&a.schema, &a.name).cmp(&(&b.schema, &b.name))));
        if !tables.is_empty() {
            let shown = counted(tables.len().min(TABLES) as u64, "table");
            let _ = writeln!(out, "\n<details><summary>The {shown} with most data</summary>\n");
            out.push_str("| table | rows | size |\n|---|---:|---:|\n");
            for table in tables.iter().take(TABLES) {
                let name = escape(&format!("{}.{}", table.schema, table.name));
                let _ = writeln!(out, "| {name} | {} | {} |", count(table.rows), bytes(table.bytes));
            }
            out.push_str("\n</details>\n");
        }
        list(&mut out, "Left out", &backup.manifest.left_out);
    }
    list(&mut out, "Warnings", &report.warnings);
    list(&mut out, "Notices", &report.notices);
    let commands = report.restore_commands();
    if !commands.is_empty() {
        out.push_str("\n<details><summary>Restore without savepoint</summary>\n\n");
        out.push_str(&block("sh", &commands.join("\n")));
        out.push_str("\n</details>\n");
    }
    out
}

/// A plan as Markdown.
pub fn plan(plan: &PlanReport) -> String {
    let title = escape(&format!("{}: plan of a backup, nothing touched", plan.database));
    format!("## {title}\n\n{}", block("text", &terminal::plan(plan)))
}

/// The preflight questions as Markdown.
pub fn checks(checks: &[Check]) -> String {
    let failed = checks.iter().filter(|c| c.status == Status::Failed).count();
    let title = match failed {
        0 => "✅ savepoint check: ready for a backup".to_owned(),
        n => format!("❌ savepoint check: {} failed", counted(n as u64, "check")),
    };
    format!("## {title}\n\n{}", block("text", &terminal::checks(checks)))
}

fn list(out: &mut String, title: &str, items: &[String]) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n**{title}**\n");
    for item in items.iter().take(LIST) {
        let _ = writeln!(out, "- {}", escape(item));
    }
    if items.len() > LIST {
        let _ = writeln!(out, "- … and {} more", count((items.len() - LIST) as u64));
    }
}

/// Text that stays text in Markdown: one line, and each character that could begin markup, a mention or a link as a
/// numeric entity, which CommonMark never reads as structure
/// (<https://spec.commonmark.org/0.31.2/#entity-and-numeric-character-references>).
pub(super) fn escape(text: &str) -> String {
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
pub(super) fn block(language: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    #[test]
    fn results_as_people_see_them() {
        for (name, report) in fixture::all() {
            let text = backup(&report);
            assert!(!text.lines().any(|l| l.trim_start().starts_with("::")), "{text}");
            insta::assert_snapshot!(format!("summary_{name}"), text);
        }
    }

    #[test]
    fn plan_and_checks() {
        let plan = fixture::plan();
        insta::assert_snapshot!("summary_checks", checks(&plan.checks));
        assert!(super::plan(&plan).contains("```text\n"));
    }

    #[test]
    fn names_cannot_become_markup_or_close_a_fence() {
        assert_eq!(escape("<b>|`x`\n# @all"), "&#60;b&#62;&#124;&#96;x&#96;\\n&#35; &#64;all".replace("\\n", "&#92;n"));
        assert!(block("text", "a\n````\nb").starts_with("`````text\n"));
    }
}
