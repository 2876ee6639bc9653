//! The `--json` contract: one object on standard output. Fields are only ever added.

use super::renderer::Renderer;
use crate::{
    report::{BackupReport, Check, Page, PlanReport, Report, Status},
    vault::RunContext,
};
use serde_json::{Map, Value, json};

/// Renders for programs.
#[derive(Debug)]
pub struct Json;

impl Renderer for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn render(&self, report: &Report, _context: &RunContext) -> String {
        let object = match report {
            Report::Backup(report) => backup(report),
            Report::Plan(plan) => self::plan(plan),
            Report::Checks(checks) => self::checks(&checks.0),
            Report::Page(page) => self::page(page),
        };
        format!("{object:#}\n")
    }
}

/// The version of the contract.
const FORMAT: u32 = 1;

/// A backup's result. The manifest itself lies in the store; its totals stand here.
fn backup(report: &BackupReport) -> Value {
    let backup = report.backup.as_ref().map(|b| {
        let m = &b.manifest;
        json!({
            "id": m.id, "uri": b.uri, "manifest_uri": b.manifest_uri, "proof_uri": b.proof_uri,
            "manifest_sha256": b.manifest_sha256, "signed_by": m.signed_by, "signature_uri": b.signature_uri,
            "taken_at": m.taken_at, "stored_at": m.stored_at, "postgres_version": m.source.server_version,
            "tables": m.totals.tables, "rows": m.totals.rows, "bytes": m.totals.bytes,
            "stored_bytes": m.totals.stored_bytes, "files": m.files.len(), "compression": m.options.compression,
            "schema_digest": m.schema_digest, "left_out": m.left_out, "lock": m.lock,
            "restore_commands": report.restore_commands(),
        })
    });
    let proof = report.proof.as_ref().map(|p| {
        json!({
            "level": p.level, "passed": p.passed, "started_at": p.started_at, "finished_at": p.finished_at,
            "server": p.server, "compared": p.compared, "differences": p.differences, "unproven": p.unproven,
        })
    });
    let phases: Map<String, Value> = report.phases.iter().map(|p| (p.name.clone(), json!(p.seconds))).collect();
    json!({
        "format": FORMAT, "command": "backup", "outcome": report.outcome, "exit_code": report.exit_code(),
        "database": report.database, "source": report.source, "destination": report.destination,
        "kind": report.kind, "verify": report.verify, "backup": backup, "copies": report.copies, "proof": proof, "rehearsal": report.rehearsal, "failure": report.failure,
        "anomalies": report.anomalies, "past": report.past, "pruned": report.pruned,
        "warnings": report.warnings, "notices": report.notices, "started_at": report.started_at,
        "seconds": report.seconds, "phases": phases, "context": report.context,
    })
}

/// A plan.
fn plan(plan: &PlanReport) -> Value {
    json!({ "format": FORMAT, "command": "plan", "plan": plan })
}

/// The preflight questions.
fn checks(checks: &[Check]) -> Value {
    let ok = checks.iter().all(|c| c.status != Status::Failed);
    json!({ "format": FORMAT, "command": "check", "ok": ok, "checks": checks })
}

/// Any other verb.
fn page(page: &Page) -> Value {
    let mut object = json!({
        "format": FORMAT, "command": page.verb, "exit_code": page.exit_code, "failure": page.failure,
        "warnings": page.warnings, "notices": page.notices,
    });
    if let (Some(all), Value::Object(own)) = (object.as_object_mut(), &page.json) {
        all.extend(own.clone());
    }
    object
}

/// A failure before there was a report, such as wrong options.
pub fn error(verb: &str, error: &crate::Error) -> Value {
    json!({
        "format": FORMAT, "command": verb, "outcome": "failed", "exit_code": error.exit_code(),
        "failure": { "phase": "options", "message": error.one_line(), "hint": error.hint_text(), "exit_code": error.exit_code() },
    })
}

#[cfg(test)]
mod tests {
    use crate::report::fixture;

    #[test]
    fn the_contract() {
        for (name, report) in fixture::all() {
            insta::assert_json_snapshot!(format!("json_{name}"), super::backup(&report));
        }
        insta::assert_json_snapshot!("json_plan", super::plan(&fixture::plan()));
        insta::assert_json_snapshot!("json_checks", super::checks(&fixture::plan().checks));
    }
}
