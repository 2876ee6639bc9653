//! What a drill found, and its page.

use super::config::VerifyConfig;
use crate::checks::Checked;
use crate::{
    clock::now,
    error::Error,
    report::{
        Rehearsal,
        format::{count, counted, seconds},
        page::{Page, Table, Verdict},
        rehearsal::PROBLEMS,
    },
    vault::{Proof, VerifyLevel},
};
use serde_json::{Value, json};

/// What a drill found.
#[derive(Default)]
pub(super) struct Drilled {
    /// The backup's id, or the file.
    pub name: String,
    /// Begins the headline: the database's name, or the file's.
    pub about: String,
    pub is_file: bool,
    pub facts: Vec<(&'static str, String)>,
    /// What was restored is what was stored, as far as it was compared.
    pub passed: bool,
    pub proof: Option<Proof>,
    pub proof_uri: Option<String>,
    pub differences: Vec<String>,
    pub unproven: Vec<String>,
    pub checks: Vec<Checked>,
    /// What a migration did to the proven copy.
    pub rehearsal: Option<Rehearsal>,
    /// Limits that were exceeded.
    pub limits: Vec<String>,
    /// Seconds that the restore took.
    pub rto: Option<f64>,
    /// Seconds since the newest backup.
    pub age: Option<f64>,
    pub tables: u64,
    pub rows: u64,
    pub warnings: Vec<String>,
    pub error: Option<Error>,
}

impl Drilled {
    pub fn failed_checks(&self) -> Vec<String> {
        self.checks.iter().filter_map(Checked::problem).collect()
    }

    pub fn verified(&self) -> bool {
        self.error.is_none() && self.passed && self.failed_checks().is_empty() && self.limits.is_empty()
    }

    /// How it ended, in a few words.
    pub fn verdict(&self, level: VerifyLevel) -> String {
        if let Some(e) = &self.error {
            return format!("failed: {}", e.one_line());
        }
        let failed = self.failed_checks().len() as u64;
        let mut but = Vec::new();
        if failed > 0 {
            but.push(format!("{} of {} failed", count(failed), counted(self.checks.len() as u64, "check")));
        }
        if !self.limits.is_empty() {
            but.push(format!("{} exceeded", counted(self.limits.len() as u64, "limit")));
        }
        let proof = match (self.passed, self.is_file, level) {
            (true, true, VerifyLevel::Archive) => "dump read to its end, not restored",
            (true, true, _) => "dump restored without an error",
            (true, false, VerifyLevel::Rows) => "backup restored, row counts proven",
            (true, false, VerifyLevel::Archive) => "backup's files read back, not restored",
            (true, false, _) => "backup proven by a restore",
            (false, true, _) => "dump does not restore as it should",
            (false, false, _) => "backup not proven",
        };
        match (but.is_empty(), self.passed) {
            (true, _) => proof.into(),
            (false, true) => format!("{proof}, but {}", but.join(", ")),
            (false, false) => format!("{proof}, and {}", but.join(", ")),
        }
    }

    pub fn judge(&mut self, config: &VerifyConfig) {
        let limits = [
            (self.rto, config.max_rto, "max-rto", "the restore took"),
            (self.age, config.max_age, "max-age", "the newest backup is old by"),
        ];
        for (is, limit, option, words) in limits {
            if let (Some(is), Some(limit)) = (is, limit.map(|l| l.as_secs_f64()))
                && is > limit
            {
                self.limits.push(format!("{words} {}, {option} is {}", seconds(is), seconds(limit)));
            }
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "name": self.name, "verified": self.verified(), "passed": self.passed, "proof": self.proof,
            "proof_uri": self.proof_uri, "differences": self.differences, "unproven": self.unproven, "checks": self.checks,
            "rehearsal": self.rehearsal, "limits": self.limits, "rto_seconds": self.rto, "age_seconds": self.age, "tables": self.tables, "rows": self.rows,
            "warnings": self.warnings, "error": self.error.as_ref().map(Error::one_line),
        })
    }
}

/// A line for each of several.
fn of_several(config: &VerifyConfig, all: &[Drilled]) -> Page {
    let good = all.iter().filter(|d| d.verified()).count();
    let mut page = Page::new("verify", format!("{good} of {} verified", counted(all.len() as u64, "backup")));
    let line = |d: &Drilled| {
        let time = d.rto.map(seconds).unwrap_or_default();
        let rows = if d.error.is_none() { count(d.rows) } else { String::new() };
        let result = if d.error.is_some() { "failed".into() } else { d.verdict(config.level) };
        vec![d.name.clone(), d.about.clone(), rows, time, result]
    };
    page.tables = vec![Table {
        title: String::new(),
        columns: vec![("backup", false), ("database", false), ("rows", true), ("restore", true), ("result", false)],
        rows: all.iter().map(line).collect(),
        whole: true,
    }];
    let told = |lines: &dyn Fn(&Drilled) -> Vec<String>| -> Vec<String> {
        all.iter().flat_map(|d| lines(d).into_iter().map(|l| format!("{}: {l}", d.name))).collect()
    };
    page.lists = vec![
        ("failed", told(&|d| d.error.iter().map(Error::one_line).collect())),
        ("differences", told(&|d| d.differences.clone())),
        ("failed checks", told(&Drilled::failed_checks)),
        ("limits exceeded", told(&|d| d.limits.clone())),
    ];
    page.warnings = told(&|d| d.warnings.clone());
    page
}

pub(super) fn page(config: &VerifyConfig, mut all: Vec<Drilled>) -> Page {
    let verified = all.iter().all(Drilled::verified);
    let results: Vec<Value> = all.iter().map(Drilled::json).collect();
    let longest = |of: fn(&Drilled) -> Option<f64>| all.iter().filter_map(of).max_by(f64::total_cmp);
    let (rto, age) = (longest(|d| d.rto), longest(|d| d.age));
    let mut outputs: Vec<(&'static str, String)> = Vec::new();
    if let [one] = all.as_slice()
        && !one.is_file
    {
        outputs.push(("backup-id", one.name.clone()));
    }
    outputs.push(("verified", verified.to_string()));
    outputs.extend(rto.map(|t| ("rto-seconds", format!("{t:.1}"))));
    outputs.extend(age.map(|t| ("age-seconds", format!("{t:.0}"))));
    if let [one] = all.as_slice() {
        outputs.extend([("tables", one.tables.to_string()), ("rows", one.rows.to_string())]);
    }
    // Only one backup is rehearsed on.
    let rehearsal = all.iter().find_map(|d| d.rehearsal.as_ref());
    let rehearsed = rehearsal.map(Rehearsal::passed);
    outputs.extend(rehearsal.map(|rehearsal| ("rehearsal", rehearsal.verdict().to_owned())));
    let mut page = match all.as_mut_slice() {
        [one] => {
            let rehearsed = one.rehearsal.as_ref().map(|r| format!("; rehearsal {}", r.verdict())).unwrap_or_default();
            let mut page = Page::new("verify", format!("{}: {}{rehearsed}", one.about, one.verdict(config.level)));
            page.facts = std::mem::take(&mut one.facts);
            page.lists = vec![
                ("differences", std::mem::take(&mut one.differences)),
                ("failed checks", one.failed_checks()),
                ("limits exceeded", std::mem::take(&mut one.limits)),
                ("not proven", std::mem::take(&mut one.unproven)),
            ];
            let rehearsal = one.rehearsal.take();
            page.lists.extend(rehearsal.iter().map(|rehearsal| (PROBLEMS, rehearsal.problems.clone())));
            page.lists.extend(rehearsal.iter().flat_map(Rehearsal::lists));
            page.details = rehearsal.iter().flat_map(Rehearsal::details).collect();
            page.facts.extend(one.proof_uri.take().map(|uri| ("record", uri)));
            page.warnings = std::mem::take(&mut one.warnings);
            page
        }
        all => of_several(config, all),
    };
    page.lists.retain(|(_, lines)| !lines.is_empty());
    page.outputs = outputs;
    page.json = json!({ "verified": verified, "finished_at": now(), "results": results });
    if !verified {
        (page.verdict, page.exit_code) = (Verdict::Bad, 3);
    } else if rehearsed == Some(false) {
        (page.verdict, page.exit_code) = (Verdict::Bad, 4);
    }
    page
}
