//! The validated configuration. Nothing past this module reads the environment or the command line.

use crate::{postgres::conninfo::Target, secret::Secret};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything a backup needs to know.
#[derive(Clone, Debug)]
pub struct BackupConfig {
    /// The database to back up.
    pub source: Target,
    /// Where to store it.
    pub destination: Destination,
    /// Why it is taken.
    pub kind: BackupKind,
    /// Connections that read rows at the same time, at least 1.
    pub jobs: usize,
    /// How rows are compressed.
    pub compression: CompressionChoice,
    /// What is taken and left out.
    pub filter: Filter,
    /// How much is proven.
    pub verify: VerifyLevel,
    /// A server for the throwaway database in place of the built-in one.
    pub verify_url: Option<Target>,
    /// Folders in which PostgreSQL's programs are looked up, in this order (`--pg-bin-dir`, then `PATH`, then
    /// `/usr/lib/postgresql/*/bin`).
    pub pg_bin_dirs: Vec<PathBuf>,
    /// Where the throwaway server and pg_dump's own files lie; default: the system's temporary folder.
    pub scratch_dir: Option<PathBuf>,
    /// Store a hash of the source's host name in place of the name.
    pub redact_host: bool,
    /// Where the run comes from.
    pub context: RunContext,
}

/// Why a backup is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BackupKind {
    /// Before a deploy.
    Snapshot,
    /// By a schedule.
    Scheduled,
    /// By hand.
    Manual,
    /// Before a restore over existing data.
    PreRestore,
}

impl BackupKind {
    /// The name in ids, manifests and options.
    pub fn name(self) -> &'static str {
        match self {
            BackupKind::Snapshot => "snapshot",
            BackupKind::Scheduled => "scheduled",
            BackupKind::Manual => "manual",
            BackupKind::PreRestore => "pre-restore",
        }
    }
}

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
    /// Nothing is proven.
    None,
}

/// How rows are compressed, as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionChoice {
    /// zstd from major 16 on, gzip before: what the source's own pg_restore can read.
    Auto,
    /// As named.
    Named(Compression),
}

/// How rows are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip members, level 1 to 9.
    Gzip(u32),
    /// zstd frames, level 1 to 19.
    Zstd(i32),
}

/// What is taken and left out; patterns as in pg_dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Filter {
    /// `pg_dump --schema`.
    pub schemas: Vec<String>,
    /// `pg_dump --exclude-schema`.
    pub exclude_schemas: Vec<String>,
    /// `pg_dump --table`.
    pub tables: Vec<String>,
    /// `pg_dump --exclude-table`.
    pub exclude_tables: Vec<String>,
    /// `pg_dump --exclude-table-data`.
    pub exclude_table_data: Vec<String>,
    /// `pg_dump --schema-only`.
    pub schema_only: bool,
}

impl Filter {
    /// True when everything in the database is taken.
    pub fn is_everything(&self) -> bool {
        *self == Filter::default()
    }
}

/// A place for backups.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A local folder.
    Local(PathBuf),
    /// An S3 bucket.
    S3(S3Options),
}

/// An S3 bucket and how to talk to it. Credentials come from the SDK's own chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// Bucket name.
    pub bucket: String,
    /// Key prefix without a slash at either end; may be empty.
    pub prefix: String,
    /// Endpoint URL of an S3 clone; AWS when absent.
    pub endpoint: Option<String>,
    /// Region; else the SDK's chain, else `us-east-1`.
    pub region: Option<String>,
    /// `endpoint/bucket/key` in place of `bucket.endpoint/key`. `None`: on with a custom endpoint.
    pub path_style: Option<bool>,
    /// Storage class, such as `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Server-side encryption: `AES256` or `aws:kms`.
    pub sse: Option<String>,
    /// KMS key for `aws:kms`.
    pub kms_key_id: Option<String>,
    /// Which checksums are sent.
    pub checksums: S3Checksums,
}

/// Which checksums are sent with S3 requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum S3Checksums {
    /// The SDK's default, and without it when the server refuses it.
    #[default]
    Auto,
    /// Always; an error when the server refuses it.
    Required,
    /// Only where S3 asks for one.
    Off,
}

/// When Slack is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NotifyOn {
    /// Each run.
    #[default]
    Always,
    /// Only runs that failed.
    Failure,
    /// Only runs that did not fail.
    Success,
}

/// Slack, when it is to be told.
#[derive(Clone, Debug)]
pub struct SlackConfig {
    /// The incoming webhook; the whole URL is a secret.
    pub webhook_url: Secret,
    /// Which runs are told.
    pub notify_on: NotifyOn,
}

/// Git and CI facts of this run, stored in the manifest and shown in reports. Every field may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct RunContext {
    /// `owner/name`.
    pub repository: Option<String>,
    /// Full commit hash.
    pub commit: Option<String>,
    /// Branch or tag.
    pub git_ref: Option<String>,
    /// Who or what triggered the run.
    pub actor: Option<String>,
    /// Event that triggered the workflow.
    pub event: Option<String>,
    /// Workflow name.
    pub workflow: Option<String>,
    /// Link to the run.
    pub run_url: Option<String>,
}
