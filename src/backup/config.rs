//! What a backup needs to know.

use crate::{
    archive::compression::CompressionChoice,
    crypt::Recipients,
    engine::{Engine, Guard},
    inventory::anomalies::Anomaly,
    postgres::conninfo::Target,
    prune::retention::Retention,
    rehearse::RehearseConfig,
    sign::Signer,
    store::{Destination, copies::Require},
    vault::{BackupKind, Filter, RunContext, VerifyLevel},
};
use std::num::NonZeroU64;

/// Everything a backup needs to know.
#[derive(Clone, Debug)]
pub struct BackupConfig {
    /// The database to back up.
    pub source: Target,
    /// Where to store it; may be several places.
    pub destination: Destination,
    /// How many of several places must take it.
    pub require: Require,
    /// Restore from each of several places, not from the first alone.
    pub verify_all: bool,
    /// Why it is taken.
    pub kind: BackupKind,
    /// Bytes of COPY text that are read from the source per second at most, over all connections; `None`: as fast as they come.
    pub max_rate: Option<NonZeroU64>,
    /// How rows are compressed.
    pub compression: CompressionChoice,
    /// What is taken and left out.
    pub filter: Filter,
    /// How much is proven.
    pub verify: VerifyLevel,
    /// A server for the throwaway database in place of the built-in one.
    pub verify_url: Option<Target>,
    /// How the built-in server is kept in.
    pub guard: Guard,
    /// Connections that read rows, programs, and the folder for the throwaway server and pg_dump's own files.
    pub engine: Engine,
    /// What is rehearsed on the proven copy.
    pub rehearse: Option<RehearseConfig>,
    /// Encrypt what is stored, and how.
    pub encryption: Option<Encryption>,
    /// Signs the manifest and the record of the proof.
    pub signer: Option<Signer>,
    /// Store a hash of the source's host name in place of the name.
    pub redact_host: bool,
    /// What is remarkable beside the backup before.
    pub anomaly: Anomaly,
    /// Delete old backups of this database and kind once this one is proven.
    pub prune: Option<Retention>,
    /// Where the run comes from.
    pub context: RunContext,
}

/// How a backup is encrypted.
#[derive(Clone, Debug)]
pub struct Encryption {
    /// To whom.
    pub recipients: Recipients,
    /// Hide the names of what is in the database as well.
    pub manifest: bool,
}

impl BackupConfig {
    /// Everything in the database, taken by hand and proven to the last row, as the command line does without options.
    pub fn new(source: Target, destination: Destination) -> BackupConfig {
        BackupConfig {
            source,
            destination,
            require: Require::Any,
            verify_all: false,
            kind: BackupKind::Manual,
            max_rate: None,
            compression: CompressionChoice::Auto,
            filter: Filter::default(),
            verify: VerifyLevel::Content,
            verify_url: None,
            guard: Guard::default(),
            engine: Engine::default(),
            rehearse: None,
            encryption: None,
            signer: None,
            redact_host: false,
            anomaly: Anomaly::default(),
            prune: None,
            context: RunContext::default(),
        }
    }

    /// Servers that it connects to.
    pub fn targets(&self) -> Vec<&Target> {
        std::iter::once(&self.source).chain(&self.verify_url).collect()
    }

    /// The source as people read it: without its password, or with its host as a hash.
    pub fn source_label(&self) -> String {
        match self.redact_host {
            true => format!("{} on {}", self.source.dbname, self.source.host_label(true)),
            false => self.source.redacted(),
        }
    }
}
