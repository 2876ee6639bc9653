//! What a run of `savepoint backup` has to tell.

use super::{Before, Failing, Failure, Past, Rehearsal, format, page::Verdict};
use crate::{
    postgres::extension::around,
    vault::{BackupKind, MANIFEST, Manifest, Proof, RunContext, VerifyLevel, receipt},
};
use format::{bytes, count, counted, seconds, shell_word};
use serde::Serialize;

/// When a phase was, from the run's beginning on. Dump and restore overlap.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseTime {
    /// Its name ([`crate::progress::Phase::name`]).
    pub name: String,
    /// Seconds before it began.
    pub from: f64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// How a backup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Stored, and its proof passed.
    Proven,
    /// Stored; no proof was asked for (`verify: none`).
    Stored,
    /// Stored, but its proof failed or could not be finished.
    ProofFailed,
    /// Nothing was stored.
    Failed,
}

/// A stored backup and its addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredBackup {
    /// Address of the backup's folder.
    pub uri: String,
    /// Address of `manifest.json`.
    pub manifest_uri: String,
    /// SHA-256 of `manifest.json`, hex.
    pub manifest_sha256: String,
    /// Address of its signature, where it is signed.
    pub signature_uri: Option<String>,
    /// Address of the proof record, when there is one.
    pub proof_uri: Option<String>,
    /// The manifest as stored.
    pub manifest: Manifest,
}

/// What became of one of several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CopyState {
    /// The proof read it.
    Proven,
    /// Every byte was read back, and is equal to the one that the proof read.
    Equal,
    /// Stored, not proven.
    Stored,
    /// It holds no good copy.
    Failed,
}

/// One of several places that a backup was to lie in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredCopy {
    /// The destination's address.
    pub destination: String,
    /// Address of the backup's folder there; absent where the destination could not be opened.
    pub uri: Option<String>,
    /// What became of it.
    pub state: CopyState,
    /// Why it failed.
    pub why: Option<String>,
    /// The cure.
    pub hint: Option<String>,
}

impl StoredCopy {
    /// In one line.
    fn line(&self) -> String {
        let place = self.uri.as_deref().unwrap_or(&self.destination);
        match (self.state, &self.why) {
            (CopyState::Proven, _) => format!("{place}: proven"),
            (CopyState::Equal, _) => format!("{place}: every byte read back, equal"),
            (CopyState::Stored, _) => format!("{place}: stored"),
            (CopyState::Failed, why) => {
                let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                format!("{place}: FAILED: {}{hint}", why.as_deref().unwrap_or("no good copy"))
            }
        }
    }
}

/// What a pruning behind a backup did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Backups that are gone.
    pub deleted: u64,
    /// Backups of the database and kind that are there.
    pub kept: u64,
    /// Of these, how many the rule would let go, but are locked.
    #[serde(skip_serializing_if = "none")]
    pub locked: u64,
    /// Bytes.
    pub freed_bytes: u64,
    /// Leftovers of broken-off runs that were removed.
    pub swept: u64,
    /// What was kept although the rule does not say so.
    #[serde(skip)]
    pub warnings: Vec<String>,
    /// Why it failed.
    pub failure: Option<String>,
    /// The cure.
    pub hint: Option<String>,
}

impl Pruned {
    /// Both, of two places.
    #[must_use]
    pub fn and(mut self, other: Pruned) -> Pruned {
        self.deleted += other.deleted;
        self.kept += other.kept;
        self.locked += other.locked;
        self.freed_bytes += other.freed_bytes;
        self.swept += other.swept;
        self.warnings.extend(other.warnings);
        if self.failure.is_none() {
            (self.failure, self.hint) = (other.failure, other.hint);
        }
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn none(n: &u64) -> bool {
    *n == 0
}

/// Everything that a run of `savepoint backup` has to tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BackupReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Database name.
    pub database: String,
    /// The source without its password, or with its host as a hash.
    pub source: String,
    /// The destination's address.
    pub destination: String,
    /// Why it was taken.
    pub kind: BackupKind,
    /// The proof that was asked for.
    pub verify: VerifyLevel,
    /// The backup, once it is committed.
    pub backup: Option<StoredBackup>,
    /// The proof, once it ran.
    pub proof: Option<Proof>,
    /// What a migration did to the proven copy.
    pub rehearsal: Option<Rehearsal>,
    /// The places that it was to lie in, where they are several.
    pub copies: Vec<StoredCopy>,
    /// What failed.
    pub failure: Option<Failure>,
    /// What is remarkable beside the backup before.
    pub anomalies: Vec<String>,
    /// The backup before, which this one was compared with.
    #[serde(skip)]
    pub before: Option<Before>,
    /// What stood before the run.
    pub past: Past,
    /// Anomalies were asked to give exit code 4.
    pub fail_on_anomaly: bool,
    /// What was pruned behind it, where that was asked for and the backup is proven.
    pub pruned: Option<Pruned>,
    /// What may be wrong, such as objects that could not be removed, or a Slack message that was not taken.
    pub warnings: Vec<String>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// When the run began (RFC 3339, UTC).
    pub started_at: String,
    /// Wall time in seconds.
    pub seconds: f64,
    /// The phases that ended, in order.
    pub phases: Vec<PhaseTime>,
    /// Git and CI context.
    pub context: RunContext,
    /// Options by which the place is reached, which the restore commands need ([`crate::store::Place::options`]).
    pub reached_by: Vec<(&'static str, String)>,
}

impl BackupReport {
    /// How it ended, in a few words, beginning with the database's name.
    pub fn headline(&self) -> String {
        let verdict = match (self.outcome, self.verify) {
            (Outcome::Proven, VerifyLevel::Content | VerifyLevel::Sent | VerifyLevel::None) => {
                "backup stored and proven"
            }
            (Outcome::Proven, VerifyLevel::Rows) => "backup stored, row counts proven",
            (Outcome::Proven, VerifyLevel::Archive) => "backup stored, its files read back; not restored",
            (Outcome::Stored, VerifyLevel::Sent) => "backup sent and acknowledged; nothing read back",
            (Outcome::Stored, _) => "backup stored, not proven",
            (Outcome::ProofFailed, _) => "backup stored, but its proof failed",
            (Outcome::Failed, _) => "backup failed, nothing stored",
        };
        let copies = match (self.backup.is_some(), self.copies.len(), self.good_copies()) {
            (false, ..) | (_, 0, _) => String::new(),
            (_, all, good) if all == good => format!(", in {all} places"),
            (_, all, good) => format!(", but only in {good} of {all} places"),
        };
        let but = if self.pruning_failed() { "; pruning failed" } else { "" };
        let again = match (&self.past.failing, self.exit_code()) {
            (Failing::Since { runs, .. }, 0) => format!("; recovered after {}", counted(*runs, "failed run")),
            _ => String::new(),
        };
        let rehearsed = self.rehearsal.as_ref().map(|r| format!("; rehearsal {}", r.verdict())).unwrap_or_default();
        format!("{}: {verdict}{copies}{rehearsed}{but}{again}", format::clean(&self.database))
    }

    /// Shortens the backup's addresses below `folder` to what stands behind it: a container action has the workspace mounted at a
    /// path that the job's other steps do not know, but they begin in it.
    pub fn relative_to(&mut self, folder: &str) {
        let Some(backup) = &mut self.backup else { return };
        let folder = format!("{}/", folder.trim_end_matches('/'));
        let others = backup.proof_uri.iter_mut().chain(&mut backup.signature_uri);
        for address in [&mut backup.uri, &mut backup.manifest_uri].into_iter().chain(others) {
            if let Some(rest) = address.strip_prefix(&folder) {
                *address = format!("./{rest}");
            }
        }
    }

    /// How it ended, for the sign in front of the headline.
    pub(super) fn verdict(&self) -> Verdict {
        match self.outcome {
            Outcome::Proven if self.rehearsal.as_ref().is_some_and(|r| !r.passed()) => Verdict::Bad,
            Outcome::Proven if self.anomalies.is_empty() && self.exit_code() == 0 => Verdict::Good,
            Outcome::Proven | Outcome::Stored => Verdict::Doubtful,
            Outcome::ProofFailed | Outcome::Failed => Verdict::Bad,
        }
    }

    /// The commands that restore the backup without this program; none without a backup.
    pub fn restore_commands(&self) -> Vec<String> {
        self.backup.as_ref().map_or_else(Vec::new, |b| restore_commands(&b.uri, &self.reached_by, &b.manifest))
    }

    /// What was taken and where it lies, as names and values; values may hold text from the database.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = Vec::new();
        let Some(backup) = &self.backup else {
            facts.push(("source", self.source.clone()));
            facts.push(("destination", self.destination.clone()));
            facts.push(("time", seconds(self.seconds)));
            facts.extend(self.long_past());
            return facts;
        };
        let manifest = &backup.manifest;
        let totals = &manifest.totals;
        facts.push(("backup", manifest.id.clone()));
        facts.push(("taken", format!("{} ({})", manifest.taken_at, self.kind.name())));
        facts.push(("source", format!("{}, PostgreSQL {}", self.source, manifest.source.server_version)));
        match self.copies.is_empty() {
            true => facts.push(("stored", backup.uri.clone())),
            false => facts.extend(self.copies.iter().map(|copy| ("copy", copy.line()))),
        }
        facts.push(("content", format!("{}, {}", counted(totals.tables, "table"), counted(totals.rows, "row"))));
        facts.push(("size", size_line(manifest)));
        facts.extend(encrypted_to(manifest).map(|to| ("encrypted", to)));
        facts.extend(signed_by(manifest));
        facts.extend(manifest.lock.as_ref().map(|lock| ("locked", lock.line())));
        facts.extend(self.rehearsal.as_ref().map(|rehearsal| ("rehearsal", rehearsal.line())));
        facts.push(("time", seconds(self.seconds)));
        if let Some(pruned) = &self.pruned {
            let (deleted, kept) = (counted(pruned.deleted, "backup"), count(pruned.kept));
            let failed = pruned.failure.as_ref().map(|why| format!("; failed: {why}")).unwrap_or_default();
            let locked = match pruned.locked {
                0 => String::new(),
                n => format!(" ({} only as locked)", count(n)),
            };
            let done = format!("{deleted} deleted, {kept} kept{locked}, {} freed{failed}", bytes(pruned.freed_bytes));
            facts.push(("pruned", done));
        }
        facts.extend(self.long_past());
        facts
    }

    /// What whoever reads of a failure asks next.
    fn long_past(&self) -> Vec<(&'static str, String)> {
        let proven = self.past.last_proven.as_ref().map(|last| ("last proven", last.line()));
        let failing = match (&self.past.failing, self.exit_code()) {
            (Failing::Since { runs, age, .. }, 1..) => {
                Some(("failing", format!("for {age}, {} before this one", counted(*runs, "run"))))
            }
            (Failing::Since { age, at, .. }, 0) => Some(("failing", format!("no longer; since {at}, {age} ago"))),
            _ => None,
        };
        proven.into_iter().chain(failing).collect()
    }

    /// What the proof compared, in one line; absent when none ran.
    pub fn proof_line(&self) -> Option<String> {
        self.proof.as_ref().map(proof_line)
    }

    /// The first place that holds no good copy.
    pub fn lost_copy(&self) -> Option<&StoredCopy> {
        self.copies.iter().find(|copy| copy.state == CopyState::Failed)
    }

    /// Places that hold a good copy.
    fn good_copies(&self) -> usize {
        self.copies.iter().filter(|copy| copy.state != CopyState::Failed).count()
    }

    fn pruning_failed(&self) -> bool {
        self.pruned.as_ref().is_some_and(|p| p.failure.is_some())
    }

    /// The outputs of a workflow's step. A failed backup has only `verified` and `duration-seconds`.
    pub fn outputs(&self) -> Vec<(&'static str, String)> {
        let proven = self.outcome == Outcome::Proven;
        let mut outputs = vec![("verified", proven.to_string()), ("duration-seconds", format!("{:.1}", self.seconds))];
        if let Some(backup) = &self.backup {
            let (manifest, totals) = (&backup.manifest, &backup.manifest.totals);
            outputs.extend([
                ("backup-id", manifest.id.clone()),
                ("uri", backup.uri.clone()),
                ("manifest-uri", backup.manifest_uri.clone()),
                ("manifest-sha256", backup.manifest_sha256.clone()),
                ("tables", totals.tables.to_string()),
                ("rows", totals.rows.to_string()),
                ("bytes", totals.bytes.to_string()),
                ("stored-bytes", totals.stored_bytes.to_string()),
                ("postgres-version", manifest.source.server_version.clone()),
                ("restore-command", self.restore_commands().join(" && ")),
            ]);
            outputs.extend(self.rehearsal.as_ref().map(|rehearsal| ("rehearsal", rehearsal.verdict().to_owned())));
        }
        outputs
    }

    /// The process exit code: 0 proven or stored as asked, 3 stored but unproven, 4 when an anomaly was asked to fail, pruning failed or
    /// one of several destinations holds no good copy, else the failure's own.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Proven if self.pruning_failed() => 4,
            Outcome::Proven if self.rehearsal.as_ref().is_some_and(|r| !r.passed()) => 4,
            Outcome::Proven | Outcome::Stored if self.good_copies() < self.copies.len() => 4,
            Outcome::Proven | Outcome::Stored if self.fail_on_anomaly && !self.anomalies.is_empty() => 4,
            Outcome::Proven | Outcome::Stored => 0,
            Outcome::ProofFailed => 3,
            Outcome::Failed => self.failure.as_ref().map_or(1, |f| f.exit_code),
        }
    }
}

/// The commands that restore a backup from the address of its folder, which is reached by these options, without this program.
pub fn restore_commands(uri: &str, reached_by: &[(&'static str, String)], manifest: &Manifest) -> Vec<String> {
    let archive = format!("{}/archive", format::clean(uri.trim_end_matches('/')));
    let around = around(manifest.extensions.iter().map(|e| e.name.as_str()));
    let packed = manifest.files.iter().any(|f| f.members.is_some());
    let encrypted = manifest.encryption.is_some();
    // A catalog of an extension's own wants one connection.
    let jobs = if around.is_empty() { "-j4 " } else { "" };
    let psql = |sql: String| format!("psql -d \"$TARGET\" -c {}", shell_word(&sql));
    let restore = |folder: &str| {
        let before = around.iter().flat_map(|(special, before, _)| {
            [psql(format!("CREATE EXTENSION IF NOT EXISTS {}", special.name)), psql(format!("SELECT {before}"))]
        });
        let behind = around.iter().map(|(_, _, behind)| psql(format!("SELECT {behind}")));
        before.chain([format!("pg_restore -d \"$TARGET\" {jobs}{folder}")]).chain(behind).collect::<Vec<_>>()
    };
    let mut commands = match archive.starts_with("s3://") {
        false if !packed && !encrypted => return restore(&shell_word(&archive)),
        // What is stored stays as it is.
        false => vec![format!("cp -r {} ./archive", shell_word(&archive))],
        true => {
            let option = |(name, value): &(&str, String)| match *name {
                "s3-endpoint" => Some(format!("--endpoint-url {} ", shell_word(value))),
                "ca-file" => Some(format!("--ca-bundle {} ", shell_word(value))),
                _ => None,
            };
            let options: String = reached_by.iter().filter_map(option).collect();
            vec![format!("aws s3 cp --recursive {options}{} ./archive", shell_word(&archive))]
        }
    };
    if encrypted {
        commands.push(
            "for file in ./archive/*.age; do age -d -i \"$IDENTITY\" -o \"${file%.age}\" \"$file\" && rm \"$file\"; done".to_owned(),
        );
    }
    if packed {
        commands.push("for pack in ./archive/pack-*.tar*; do tar -xf \"$pack\" -C ./archive; done".to_owned());
    }
    commands.extend(restore("./archive"));
    commands
}

/// To whom it is encrypted.
pub fn encrypted_to(manifest: &Manifest) -> Option<String> {
    Some(format!("to {}", manifest.encryption.as_ref()?.recipients.join(", ")))
}

/// Who signed it, and how that is checked.
fn signed_by(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let Some(key) = manifest.signer() else { return Vec::new() };
    let file = receipt::name(MANIFEST, &key);
    let check = format!("--verify-key {} with restore, verify, show, diff, prune", shell_word(key.text()));
    vec![("signed", format!("by {}, in {file}", key.label())), ("checked by", check)]
}

/// Size of the content and of what is stored.
pub fn size_line(manifest: &Manifest) -> String {
    let totals = &manifest.totals;
    let ratio = format::ratio(totals.bytes, totals.stored_bytes).map(|r| format!("{r}, ")).unwrap_or_default();
    let (taken, stored) = (bytes(totals.bytes), bytes(totals.stored_bytes));
    format!("{taken}, stored as {stored} ({ratio}{})", manifest.options.compression)
}

/// What a proof compared, in one line.
pub fn proof_line(proof: &Proof) -> String {
    if proof.level == VerifyLevel::Sent && proof.passed {
        return "none: what was sent was checked in memory, and the answers to it; nothing was read back".into();
    }
    let compared = &proof.compared;
    let mut parts = vec![counted(compared.files, "file")];
    if compared.tables > 0 {
        // Without a restore no row was compared, and none must be claimed.
        parts.push(format!("{} with {}", counted(compared.tables, "table"), counted(compared.rows, "row")));
    }
    for (number, noun) in [
        (compared.sequences, "sequence"),
        (compared.large_objects, "large object"),
        (compared.matviews, "materialized view"),
    ] {
        if number > 0 {
            parts.push(counted(number, noun));
        }
    }
    match compared.schema_entries {
        0 => {}
        1 => parts.push("1 schema entry".into()),
        n => parts.push(format!("{} schema entries", count(n))),
    }
    let server = proof.server.as_ref().map(|s| format!(", restored into PostgreSQL {} ({})", s.version, s.kind));
    let verdict = match proof.differences.len() {
        _ if proof.passed && proof.level == VerifyLevel::Rows => "passed, row counts equal".to_owned(),
        _ if proof.passed => "passed, all equal".to_owned(),
        0 => "failed".to_owned(),
        n => format!("failed, {}", counted(n as u64, "difference")),
    };
    format!("{verdict}: {}{}", parts.join(", "), server.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{super::fixture, *};

    #[test]
    fn the_store_is_reached_as_it_was() {
        let mut report = fixture::stored();
        report.reached_by.push(("ca-file", "/etc/our ca.pem".into()));
        let first = "aws s3 cp --recursive --endpoint-url https://account.r2.cloudflarestorage.com --ca-bundle '/etc/our ca.pem' s3://";
        assert!(report.restore_commands()[0].starts_with(first), "{:?}", report.restore_commands());
    }

    #[test]
    fn addresses_in_the_workspace_are_those_of_the_next_step() {
        let mut report = fixture::proven();
        let s3 = report.restore_commands();
        report.relative_to("/github/workspace");
        assert_eq!(report.restore_commands(), s3, "no path");

        let address =
            |report: &mut BackupReport, uri: &str| report.backup.as_mut().expect("is stored").uri = uri.to_owned();
        address(&mut report, "/github/workspace/b/x/");
        report.relative_to("/github/workspace/");
        assert_eq!(report.restore_commands(), ["pg_restore -d \"$TARGET\" -j4 ./b/x/archive"]);
        address(&mut report, "/github/workspace-2/x/");
        report.relative_to("/github/workspace");
        assert_eq!(report.backup.expect("is stored").uri, "/github/workspace-2/x/");
    }
}
