//! What a restore is asked for, as far as it is known before the target has its say; and how it is refused.

use crate::error::{Error, Kind};
use std::collections::BTreeSet;

/// What is restored, as far as the plan counts.
#[derive(Clone, Debug, Default)]
pub struct What {
    /// For people: the backup's id, or the file's name.
    pub label: String,
    /// The moment that it shows (RFC 3339), where known.
    pub taken_at: Option<String>,
    /// Stored bytes.
    pub stored_bytes: u64,
    /// Bytes of the rows as text.
    pub bytes: u64,
    /// Tables with rows that are restored, where known.
    pub tables: Option<u64>,
    /// Rows that are restored, where known.
    pub rows: Option<u64>,
    /// Database that it was taken from.
    pub database: Option<String>,
    /// `server_version` of the source.
    pub version: Option<String>,
    /// Its major.
    pub major: Option<u32>,
    /// Who signed it, where somebody did.
    pub signed: Option<String>,
    /// Roles that it names, in the order of their names.
    pub roles: Vec<String>,
    /// Those of them that come to own something.
    pub owners: BTreeSet<String>,
    /// Those of them that come to own something in schema `public`.
    pub owners_in_public: BTreeSet<String>,
    /// Extensions that it creates.
    pub extensions: Vec<String>,
    /// Whether a manifest says what it must hold.
    pub has_manifest: bool,
    /// Whether it knows the database's own settings, grants and comment.
    pub has_properties: bool,
    /// Whether it is a backup's whole content.
    pub whole: bool,
}

pub fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Refused, message)
}

/// A few names, and how many more there are.
pub fn some<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}
