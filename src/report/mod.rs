//! One report, many renderers: terminal, step summary, Slack, JSON.

use crate::{
    config::{BackupKind, RunContext, VerifyLevel},
    manifest::{Extension, Manifest, Proof, TakenBy},
    progress::Phase,
};
use serde::Serialize;
use std::time::Duration;

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

/// What failed, in which phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Name of the phase ([`Phase::name`]).
    pub phase: String,
    /// One line.
    pub message: String,
    /// The cure.
    pub hint: Option<String>,
    /// The exit code that the error alone would give.
    pub exit_code: u8,
}

/// A stored backup and its addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredBackup {
    /// Address of the backup's folder.
    pub uri: String,
    /// Address of `manifest.json`.
    pub manifest_uri: String,
    /// Address of the proof record, when there is one.
    pub proof_uri: Option<String>,
    /// The manifest as stored.
    pub manifest: Manifest,
}

/// Everything that a run of `savepoint backup` has to tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
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
    /// What failed.
    pub failure: Option<Failure>,
    /// What may be wrong, such as objects that could not be removed, or a Slack message that was not taken.
    pub warnings: Vec<String>,
    /// What the user should know.
    pub notices: Vec<String>,
    /// When the run began (RFC 3339, UTC).
    pub started_at: String,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Seconds per phase, in order.
    pub phases: Vec<(String, f64)>,
    /// Git and CI context.
    pub context: RunContext,
}

impl Report {
    /// The process exit code: 0 proven or stored as asked, 3 stored but unproven, else the failure's own.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Proven | Outcome::Stored => 0,
            Outcome::ProofFailed => 3,
            Outcome::Failed => self.failure.as_ref().map_or(1, |f| f.exit_code),
        }
    }

    /// Adds a phase's time.
    pub fn phase(&mut self, phase: Phase, time: Duration) {
        self.phases.push((phase.name().to_owned(), time.as_secs_f64()));
    }
}

/// How a preflight question was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Yes.
    Ok,
    /// Yes, but.
    Warning,
    /// No: a backup would be refused.
    Failed,
    /// Not asked, because an earlier answer makes it pointless.
    Skipped,
}

/// One preflight question and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Short name, such as `pooler` or `privileges`.
    pub name: String,
    /// The answer.
    pub status: Status,
    /// What was seen, one line.
    pub detail: String,
    /// The cure.
    pub hint: Option<String>,
}

/// What `--dry-run` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanReport {
    /// Database name.
    pub database: String,
    /// The source without its password.
    pub source: String,
    /// `server_version`.
    pub server_version: String,
    /// The destination's address of the folder that a backup would go to (the id is an example).
    pub uri: String,
    /// Programs that would be used: name and path.
    pub tools: Vec<(String, String)>,
    /// Compression, such as `zstd:2`.
    pub compression: String,
    /// Connections that would read rows.
    pub jobs: u32,
    /// Tables, largest first.
    pub tables: Vec<PlanTable>,
    /// Extensions.
    pub extensions: Vec<Extension>,
    /// What would be left out, and why.
    pub left_out: Vec<String>,
    /// The preflight questions.
    pub checks: Vec<Check>,
}

/// A table in a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanTable {
    /// Schema name.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Bytes on the source's disk, TOAST included.
    pub bytes: u64,
    /// The planner's row estimate; negative when it has none.
    pub rows_estimate: i64,
    /// Pieces it would be read in.
    pub chunks: u64,
    /// Who would write its rows.
    pub taken_by: TakenBy,
}
