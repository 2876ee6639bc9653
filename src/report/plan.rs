//! What a backup would do.

use super::Check;
use crate::vault::manifest::{Extension, TakenBy};
use serde::Serialize;

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
    /// What a proof would not cover, and why.
    pub unproven: Vec<String>,
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

impl PlanReport {
    /// What it is, beginning with the database's name.
    pub fn headline(&self) -> String {
        format!("{}: plan of a backup, nothing touched", self.database)
    }
}
