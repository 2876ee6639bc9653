//! `proofs/<time>.json`: what a proof of a stored backup found.

use super::receipt;
use crate::{
    error::{Error, Kind, Result},
    sign::Signer,
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
    /// SHA-256 (hex) of the backup's `manifest.json`: what was proven. Absent in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
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
    /// Where the backup was restored from, when it was not here: every byte of this copy was read back and is equal to that one's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal_to: Option<String>,
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

/// What a record is stored beside.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// Where the backup lies.
    pub store: &'a Arc<dyn Store>,
    /// The backup's folder.
    pub folder: &'a str,
    /// The backup hides its names.
    pub hides_names: bool,
    /// SHA-256 of its `manifest.json`.
    pub manifest_sha256: &'a str,
    /// Signs the record.
    pub signer: Option<&'a Signer>,
}

/// The suffix of a second proof within a second keeps the order of the names that of the proofs.
const AGAIN: [&str; 9] = ["", "_2", "_3", "_4", "_5", "_6", "_7", "_8", "_9"];

/// The name of the record of a proof that began then, without its suffix.
fn time(started_at: &str) -> String {
    started_at.replace([':', '-'], "")
}

/// Stores the record of a proof beside the manifest, under a name that is still free. Returns its key.
///
/// # Errors
/// When it cannot be stored.
pub async fn record(beside: Beside<'_>, proof: &Proof) -> Result<String> {
    let Beside { store, folder, hides_names, manifest_sha256, signer } = beside;
    let proof = if hides_names { proof.nameless() } else { proof.clone() };
    let proof = Proof { manifest_sha256: Some(manifest_sha256.to_owned()), ..proof };
    let body = serde_json::to_vec_pretty(&proof)
        .map_err(|e| Error::new(Kind::Archive, "cannot write the proof record").because(e))?;
    // A signature comes first, and must not come to lie beside the record of somebody else.
    let there = match signer {
        Some(_) => store.list(&format!("{folder}proofs/")).await?,
        None => Vec::new(),
    };
    let mut taken = Error::new(Kind::Exists, "no name is free");
    for suffix in AGAIN {
        let key = format!("{folder}proofs/{}{suffix}.json", time(&proof.started_at));
        if there.iter().any(|object| object.key == key) {
            continue;
        }
        let stored = async {
            if let Some(signer) = signer {
                receipt::put(store, signer, &key, &body, &proof.backup_id).await?;
            }
            store.put_new(&key, body.clone().into()).await
        };
        match stored.await {
            Ok(()) => return Ok(key),
            Err(e) if e.kind() == Kind::Exists => taken = e,
            Err(e) => return Err(e),
        }
    }
    Err(taken)
}

/// Refuses the record of another backup, of another manifest, and where it is `signed`, one that lies under the name of another time.
///
/// # Errors
/// [`Kind::Archive`].
pub(super) fn belongs(proof: &Proof, key: &str, id: &str, manifest_sha256: &str, signed: bool) -> Result<()> {
    let file = key.rsplit('/').next().unwrap_or_default();
    let time = time(&proof.started_at);
    let what = if proof.backup_id != id {
        format!("it is the record of backup {:?}", proof.backup_id)
    } else if proof.manifest_sha256.as_deref().is_some_and(|proven| proven != manifest_sha256) {
        "it is the record of another manifest than the one that lies there".into()
    } else if signed && !AGAIN.iter().any(|suffix| file == format!("{time}{suffix}.json")) {
        format!("it is the record of a proof that began at {}", proof.started_at)
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Archive, format!("stored file {key} was replaced: {what}")).hint(format!(
        "savepoint verify {id} proves the backup anew; find out who writes to the destination, and remove what is not yours"
    )))
}
