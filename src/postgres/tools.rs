//! pg_dump, pg_restore, initdb and postgres of one major version, and running them without leaking anything.

use std::path::PathBuf;

/// The programs of one PostgreSQL installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tools {
    /// Major version.
    pub major: u32,
    /// The folder they lie in.
    pub dir: PathBuf,
    /// `pg_dump`.
    pub pg_dump: PathBuf,
    /// `pg_restore`.
    pub pg_restore: PathBuf,
    /// `pg_dumpall`.
    pub pg_dumpall: Option<PathBuf>,
    /// `initdb`; comes with the server.
    pub initdb: Option<PathBuf>,
    /// `postgres`; comes with the server.
    pub postgres: Option<PathBuf>,
    /// pg_dump's version as it prints it, such as `17.5 (Debian 17.5-1.pgdg120+1)`.
    pub version: String,
}
