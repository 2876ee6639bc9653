//! What a restore tells: the facts of its plan, the page of a dry run, the page at the end.

use super::{
    plan::{self, Way},
    run::{Archive, Ground, Run},
    traces::with,
};
use crate::{
    report::{
        format::{bytes, count, counted, seconds},
        page::Page,
    },
    vault::VerifyLevel,
    verify::compare::Comparison,
};
use serde_json::json;
use std::collections::HashMap;
use time::OffsetDateTime;

impl Run<'_> {
    /// What is restored into what, for plan and page.
    pub(super) fn facts(&self, ground: &Ground, proof: &str) -> Vec<(&'static str, String)> {
        let Ground { what, facts, target, tools, .. } = ground;
        let now = OffsetDateTime::now_utc();
        let age = what.taken_at.as_deref().and_then(|t| Some(format!(", taken at {t}, {} ago", plan::age(t, now)?)));
        let mut lines = vec![("backup", format!("{}{}", what.label, age.unwrap_or_default()))];
        let mut content = Vec::new();
        content.extend(what.tables.map(|n| counted(n, "table")));
        content.extend(what.rows.map(|n| counted(n, "row")));
        content.push(format!("{} stored", bytes(what.stored_bytes)));
        lines.push(("content", content.join(", ")));
        if let Some(version) = &what.version {
            let database = what.database.as_deref().unwrap_or("?");
            lines.push(("source", format!("database {database}, PostgreSQL {version}")));
        }
        lines.extend(what.signed.clone().map(|by| ("signed", by)));
        lines.push(("proof", proof.to_owned()));
        let there = match &facts.content {
            Some(content) => plan::describe(content),
            None => "no such database".into(),
        };
        lines.push(("target", format!("{}, PostgreSQL {}: {there}", target.redacted(), facts.version)));
        let newer = match what.major {
            Some(major) if major < facts.major => format!(" (the backup's major is {major})"),
            _ => String::new(),
        };
        lines.push(("programs", format!("pg_restore {} in {}{newer}", tools.version, tools.dir.display())));
        lines
    }

    pub(super) fn dry(&self, ground: &Ground, archive: &Archive) -> Page {
        let what = &ground.what.label;
        let mut page = Page::new("restore", format!("dry run: {what} would be restored, nothing was touched"));
        page.facts = with(&self.traces, |t| t.facts.clone());
        page.lists.push(("what will happen", ground.plan.steps.clone()));
        if !archive.reaches().is_empty() {
            page.lists.push(("reaches out of the database", archive.reaches().to_vec()));
        }
        page.notices = ground.notices.clone();
        page.outputs = vec![("backup-id", what.clone()), ("verified", "false".into())];
        page.json = json!({
            "dry_run": true, "backup_id": what, "steps": ground.plan.steps, "reaches": archive.reaches(),
            "facts": page.facts.iter().cloned().collect::<HashMap<_, _>>(),
        });
        page
    }

    pub(super) fn page(
        &self,
        ground: &Ground,
        found: &Comparison,
        dbname: &str,
        load_seconds: f64,
        safety: Option<&str>,
    ) -> Page {
        let equal = found.differences.is_empty();
        let compared = matches!(self.config.verify, VerifyLevel::Content | VerifyLevel::Rows);
        let whole = compared && ground.what.has_manifest;
        let name = match &ground.plan.way {
            Way::Swap { .. } | Way::Replace { .. } if equal => ground.target.dbname.clone(),
            _ => dbname.to_owned(),
        };
        let what = &ground.what.label;
        let headline = match (equal, whole) {
            (true, true) => format!("{what} is restored into {name}, and equal"),
            (true, false) => format!("{what} is restored into {name}, and was not compared"),
            (false, _) => format!("{what} is restored into {dbname}, but is not equal to the backup"),
        };
        let mut page = Page::new("restore", headline);
        page.facts = with(&self.traces, |t| t.facts.clone());
        if let Some(at) = page.facts.iter().position(|(n, _)| *n == "proof") {
            page.facts.truncate(at);
        }
        let text = ground.what.bytes;
        let rate = (load_seconds > 0.0).then(|| bytes((text as f64 / load_seconds) as u64));
        let rate = rate.map(|r| format!(", {r} of rows a second")).unwrap_or_default();
        let all = self.begun.elapsed().as_secs_f64();
        page.facts.push(("target", format!("{}, PostgreSQL {}", ground.target.redacted(), ground.facts.version)));
        page.facts.push(("database", name.clone()));
        page.facts.push(("time", format!("{}, of which restore {}{rate}", seconds(all), seconds(load_seconds))));
        let c = &found.compared;
        let numbers = [
            counted(c.tables, "table"),
            counted(c.rows, "row"),
            counted(c.sequences, "sequence"),
            format!("{} schema entries", count(c.schema_entries)),
        ];
        let numbers = numbers.join(", ");
        page.facts.push(match (compared, equal, self.config.verify) {
            (false, ..) => ("comparison", "none".into()),
            (_, false, _) => {
                ("comparison", format!("{} in {numbers}", counted(found.differences.len() as u64, "difference")))
            }
            _ if !ground.what.has_manifest => (
                "comparison",
                format!("as many rows as the file holds: {}, {}", counted(c.tables, "table"), counted(c.rows, "row")),
            ),
            (_, _, VerifyLevel::Rows) => ("comparison", format!("row counts are equal: {numbers}")),
            _ => ("comparison", format!("equal: {numbers}")),
        });
        page.facts.extend(safety.map(|id| ("safety backup", id.to_owned())));
        page.lists.push(("differences", found.differences.clone()));
        page.lists.push(("not proven", found.unproven.clone()));
        page.lists.retain(|(_, lines)| !lines.is_empty());
        page.notices = ground.notices.clone();
        let verified = equal && ground.what.has_manifest && self.config.verify == VerifyLevel::Content;
        let (tables, rows) = (ground.what.tables.unwrap_or_default(), ground.what.rows.unwrap_or_default());
        page.outputs = vec![
            ("backup-id", what.clone()),
            ("database", name.clone()),
            ("verified", verified.to_string()),
            ("tables", tables.to_string()),
            ("rows", rows.to_string()),
        ];
        page.json = json!({
            "backup_id": what, "database": name, "verified": verified, "tables": tables, "rows": rows,
            "seconds": all, "restore_seconds": load_seconds, "compared": found.compared,
            "differences": found.differences, "unproven": found.unproven, "safety_backup": safety,
            "old_database": match &ground.plan.way { Way::Swap { aside, .. } if equal => Some(aside), _ => None },
        });
        page
    }
}
