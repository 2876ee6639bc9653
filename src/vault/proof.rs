//! `proofs/<time>.json`: what a proof of a stored backup found.

use crate::{
    error::{Error, Kind, Result},
    store::Store,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// The version of the format of proof records that older programs read.
pub const FORMAT: u32 = 2;

/// That of the record of [`VerifyLevel::Sent`], a level that they do not know.
pub const FORMAT_OF_SENT: u32 = 3;

/// What the proof covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyLevel {
    /// Throwaway restore; every row, sequence, large object and schema object is compared.
    Content,
    /// Throwaway restore; row counts, sequences and schema are compared.
    Rows,
    /// Every stored file is read back and its size and SHA-256 checked; nothing is restored.
    Archive,
    /// What is sent is checked in memory, and what the store answers is compared; nothing is read back. For a key that may only put.
    Sent,
    /// Nothing is proven.
    None,
}

impl VerifyLevel {
    /// Whether the proof restores, and so needs a server.
    pub fn restores(self) -> bool {
        matches!(self, VerifyLevel::Content | VerifyLevel::Rows)
    }

    /// Whether what lies in the destination is read.
    pub fn reads_back(self) -> bool {
        self.restores() || self == VerifyLevel::Archive
    }
}

/// `proofs/<time>.json`: what one proof of a stored backup found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// Version of this format.
    pub format: u32,
    /// The backup's id.
    pub backup_id: String,
    /// Version of the program that proved it.
    pub tool_version: String,
    /// How much was proven.
    pub level: VerifyLevel,
    /// True when nothing differs.
    pub passed: bool,
    /// When it began (RFC 3339, UTC).
    pub started_at: String,
    /// When it ended (RFC 3339, UTC).
    pub finished_at: String,
    /// The server that the archive was restored into; absent when nothing was restored.
    pub server: Option<ProofServer>,
    /// What was compared.
    pub compared: Compared,
    /// What differs, one line per object (`table public.orders: 3 rows fewer, content differs`).
    pub differences: Vec<String>,
    /// What this proof could not cover, and why.
    pub unproven: Vec<String>,
    /// Seconds per phase.
    pub timings: BTreeMap<String, f64>,
}

impl Proof {
    /// True when what is stored was read, and nothing differed.
    pub fn reads_and_passed(&self) -> bool {
        self.passed && self.level.reads_back()
    }

    /// True when the archive was restored and nothing differed. A look at the files alone proves no restore.
    pub fn proves_a_restore(&self) -> bool {
        self.passed && self.level.restores()
    }
}

/// The server of a proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofServer {
    /// `built-in` or `verify-url`.
    pub kind: String,
    /// `server_version`.
    pub version: String,
}

/// How many things a proof compared and found equal or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Files read back, size and SHA-256 checked.
    pub files: u64,
    /// Tables.
    pub tables: u64,
    /// Rows read from the restored copy.
    pub rows: u64,
    /// Sequences.
    pub sequences: u64,
    /// Large objects.
    pub large_objects: u64,
    /// Materialized views.
    pub matviews: u64,
    /// Schema entries.
    pub schema_entries: u64,
}

impl Proof {
    /// The same without a name of anything in the database, for a backup that hides them.
    #[must_use]
    fn nameless(&self) -> Proof {
        let counted = |lines: &[String], what: &str| match lines.len() {
            0 => Vec::new(),
            n => vec![format!("{n} {what}: only the run that found them names them, as this backup hides its names")],
        };
        Proof {
            differences: counted(&self.differences, "differences"),
            unproven: counted(&self.unproven, "things"),
            ..self.clone()
        }
    }
}

/// Stores the record of a proof beside the manifest, under a name that is still free. `hides_names`: as its backup does. Returns its key.
///
/// # Errors
/// When it cannot be stored.
pub async fn record(store: &Arc<dyn Store>, folder: &str, hides_names: bool, proof: &Proof) -> Result<String> {
    let nameless = hides_names.then(|| proof.nameless());
    let body = serde_json::to_vec_pretty(nameless.as_ref().unwrap_or(proof))
        .map_err(|e| Error::new(Kind::Archive, "cannot write the proof record").because(e))?;
    let time = proof.started_at.replace([':', '-'], "");
    let mut taken = None;
    // The suffix of a second proof within a second keeps the order of the names that of the proofs.
    for suffix in ["", "_2", "_3", "_4", "_5", "_6", "_7", "_8", "_9"] {
        let key = format!("{}proofs/{time}{suffix}.json", folder);
        match store.put_new(&key, body.clone().into()).await {
            Ok(()) => return Ok(key),
            Err(e) if e.kind() == Kind::Exists => taken = Some(e),
            Err(e) => return Err(e),
        }
    }
    Err(taken.unwrap_or_else(|| Error::new(Kind::Exists, "no name is free")))
}
