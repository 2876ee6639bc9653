//! PostgreSQL's directory-format archive: its table of contents and its data files.

pub mod checked;
pub mod compression;
pub mod custom;
pub mod database;
pub mod fingerprint;
pub mod frame;
pub mod pack;
pub mod schema;
pub mod toc;

/// What stands at the very end of a data file, exactly once: COPY's end marker and the blank lines that pg_dump writes
/// (pg_dump.c, `dumpTableData_copy`).
pub const TERMINATOR: &[u8] = b"\\.\n\n\n";

/// What the names of our data files begin with, before the table's OID. pg_dump's own begin with a digit.
pub const TABLE_FILE: &str = "t";
