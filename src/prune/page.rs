//! What a pruning has to tell.

use super::{
    execute::Done,
    retention::{Candidate, Decision},
    survey::Survey,
};
use crate::{
    error::Error,
    report::{
        Failure, Page,
        format::{bytes, count, counted},
        page::{Table, Verdict},
    },
    store::Store,
    vault::Stored,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

/// A pruning, done or only planned.
pub(super) struct Told<'a> {
    pub store: &'a dyn Store,
    pub survey: &'a Survey,
    /// What was done; `None`: nothing was touched.
    pub done: Option<Done>,
    /// Why the plan was refused.
    pub refused: Option<Error>,
    pub dry_run: bool,
    pub now: OffsetDateTime,
}

/// What goes and what stays, or would.
struct Figures {
    removed: usize,
    kept: usize,
    /// Bytes.
    freed: u64,
    swept: u64,
}

impl Told<'_> {
    /// The page of it.
    pub fn page(self) -> Page {
        let (acted, figures) = (self.done.is_some(), self.figures());
        let all = self.survey.plan.0.len();
        let removed = counted(figures.removed as u64, "backup");
        let headline = match (all, acted) {
            (0, _) => "no backup lies there".into(),
            (_, true) => format!("{removed} deleted, {} kept", count(figures.kept as u64)),
            (_, false) => format!("{removed} would be deleted, {} kept; nothing touched", count(figures.kept as u64)),
        };
        let mut page = Page::new("prune", headline);
        page.facts = self.facts(&figures);
        page.tables.push(self.plan());
        page.lists = vec![
            ("could not be deleted", self.failed()),
            ("held back by the store, kept", self.held()),
            ("not certainly ours, kept", self.survey.strangers.clone()),
            (if acted { "unfinished, swept" } else { "unfinished, to be swept" }, self.unfinished()),
        ];
        page.warnings = self.survey.warnings.clone();
        if !self.held().is_empty() || !self.survey.strangers.is_empty() || !page.warnings.is_empty() || all == 0 {
            page.verdict = Verdict::Doubtful;
        }
        // What was not done must not be read as done by a later step.
        let done = if acted { figures } else { Figures { removed: 0, kept: all, freed: 0, swept: 0 } };
        page.outputs = vec![
            ("deleted", done.removed.to_string()),
            ("kept", done.kept.to_string()),
            ("freed-bytes", done.freed.to_string()),
        ];
        page.json = self.json(&done);
        self.judge(&mut page);
        page
    }

    fn size(&self, c: &Candidate) -> u64 {
        self.survey.stored.get(&c.folder()).map_or(0, Stored::bytes)
    }

    fn figures(&self) -> Figures {
        let plan = &self.survey.plan;
        let (removed, freed, swept) = match &self.done {
            Some(done) => (done.deleted.len(), done.freed, done.swept),
            None => {
                let left: u64 = self.survey.leftovers.iter().map(Stored::bytes).sum();
                let freed = plan.removed().map(|c| self.size(c)).sum::<u64>() + left;
                (plan.removed().count(), freed, (self.survey.leftovers.len() + self.survey.uploads.len()) as u64)
            }
        };
        Figures { removed, kept: plan.0.len() - removed, freed, swept }
    }

    fn facts(&self, figures: &Figures) -> Vec<(&'static str, String)> {
        let acted = self.done.is_some();
        let mut facts = vec![
            ("destination", self.store.uri("")),
            ("kept", counted(figures.kept as u64, "backup")),
            (if acted { "deleted" } else { "to delete" }, counted(figures.removed as u64, "backup")),
            (if acted { "freed" } else { "to free" }, bytes(figures.freed)),
        ];
        if figures.swept > 0 {
            let swept = counted(figures.swept, "unfinished backup or upload");
            facts.push((if acted { "swept" } else { "to sweep" }, swept));
        }
        facts
    }

    /// Every backup, and why it stays or goes.
    fn plan(&self) -> Table {
        let row = |d: &Decision| {
            let why = if d.keep() { d.reasons.join(", ") } else { "no rule keeps it".into() };
            vec![
                d.backup.database.clone(),
                d.backup.id.clone(),
                age(self.now - d.backup.at),
                bytes(self.size(&d.backup)),
                action(d).into(),
                why,
            ]
        };
        Table {
            title: "plan".into(),
            columns: vec![
                ("database", false),
                ("backup", false),
                ("age", true),
                ("size", true),
                ("action", false),
                ("why", false),
            ],
            rows: self.survey.plan.0.iter().map(row).collect(),
            whole: true,
        }
    }

    fn unfinished(&self) -> Vec<String> {
        let folders = self.survey.leftovers.iter().map(|s| self.store.uri(&s.folder));
        let uploads = self.survey.uploads.iter().map(|u| format!("{} (upload)", self.store.uri(&u.key)));
        folders.chain(uploads).collect()
    }

    fn failures(&self) -> &[Error] {
        self.done.as_ref().map_or(&[], |done| &done.failures)
    }

    fn failed(&self) -> Vec<String> {
        self.failures().iter().map(Error::one_line).collect()
    }

    fn held(&self) -> Vec<String> {
        let refused = self.done.as_ref().map_or(&[][..], |done| &done.held);
        self.survey.held.iter().chain(refused).cloned().collect()
    }

    fn json(&self, done: &Figures) -> Value {
        let deleted = |id: &String| self.done.as_ref().is_some_and(|done| done.deleted.contains(id));
        let backup = |d: &Decision| {
            json!({
                "id": d.backup.id, "database": d.backup.database, "kind": d.backup.kind, "bytes": self.size(&d.backup),
                "age_seconds": (self.now - d.backup.at).whole_seconds(), "action": action(d),
                "reasons": d.reasons, "deleted": deleted(&d.backup.id),
            })
        };
        json!({
            "dry_run": self.dry_run, "destination": self.store.uri(""), "deleted": done.removed, "kept": done.kept,
            "freed_bytes": done.freed, "swept": done.swept, "backups": self.survey.plan.0.iter().map(backup).collect::<Vec<_>>(),
            "unfinished": self.unfinished(), "held": self.held(), "not_ours": self.survey.strangers, "not_deleted": self.failed(),
        })
    }

    /// Whether it failed: a plan that was refused, unless it was only asked for, or what could not be deleted.
    fn judge(&self, page: &mut Page) {
        match (&self.refused, self.failures()) {
            (Some(e), _) if self.dry_run => page.warnings.push(format!("{}: it needs --confirm-large", e.message())),
            (Some(e), _) => fail(page, "plan", e, 0),
            (None, [first, more @ ..]) => fail(page, "delete", first, more.len()),
            (None, []) => {}
        }
    }
}

fn action(d: &Decision) -> &'static str {
    if d.keep() { "keep" } else { "remove" }
}

/// `3 d 4 h`, `4 h 10 min`, `5 min`.
fn age(time: Duration) -> String {
    match (time.whole_days(), time.whole_hours() % 24, time.whole_minutes() % 60) {
        (..=-1, ..) | (_, ..=-1, _) | (.., ..=-1) => "in the future".into(),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes:02} min"),
        (days, hours, _) => format!("{} d {hours} h", count(days.unsigned_abs())),
    }
}

fn fail(page: &mut Page, phase: &str, e: &Error, more: usize) {
    let more = if more == 0 { String::new() } else { format!(" (and {} more)", count(more as u64)) };
    page.failure = Some(Failure {
        phase: phase.into(),
        message: format!("{}{more}", e.one_line()),
        hint: e.hint_text().map(str::to_owned),
        exit_code: 1,
    });
    page.verdict = Verdict::Bad;
    page.exit_code = 1;
}
