//! How and why a backup is taken.

use super::text::Flag as _;
use clap::Args;

/// Why a backup is taken.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Backup")]
pub struct KindArgs {
    /// Why the backup is taken; without it by the GitHub event (scheduled, else snapshot), manual elsewhere
    #[arg(long, value_name = "snapshot|scheduled|manual")]
    pub kind: Option<String>,
}

/// How a backup is taken.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Backup")]
pub struct TakeArgs {
    /// Compression, with an optional level: zstd:1 to zstd:19, gzip:1 to gzip:9. auto: zstd from PostgreSQL 16 on, gzip
    /// before, as the server's own pg_restore reads it. Example: zstd:9
    #[arg(long, value_name = "auto|zstd|gzip|none", default_value = "auto")]
    pub compression: String,
    /// Read rows no faster than this: bytes of their text per second, over all connections together. Slows neither the questions
    /// for the schema nor the throwaway restore. Without it, no limit. Example: 20MB (20MiB, 500k)
    #[arg(long, value_name = "RATE")]
    pub max_rate: Option<String>,
    /// Store a hash of the source's host name in place of the name
    #[arg(long, flag())]
    pub redact_host: String,
    /// Keep a record of a failure in the destination, for savepoint report, although nobody is told of it
    #[arg(long, flag())]
    pub record_failures: String,
    /// Once this backup is proven, delete this database's old backups of the same kind by the rule
    #[arg(long, flag())]
    pub prune: String,
}
