//! What a validation needs to know.

use crate::{
    checks::Check, crypt::Identities, postgres::conninfo::Target, sign::PublicKeys, store::Destination, vault::Pick,
};

/// Everything a validation needs to know.
#[derive(Clone, Debug)]
pub struct ValidateConfig {
    /// The database that is looked at.
    pub target: Target,
    /// Where backups lie.
    pub destination: Destination,
    /// The backup from before the migration.
    pub pick: Pick,
    /// Opens a backup that hides its names.
    pub identity: Option<Identities>,
    /// Take only what one of these keys signed.
    pub verify_key: Option<PublicKeys>,
    /// Percent of its rows that a table may have lost.
    pub max_drop: u32,
    /// Tables that may lose what they like, and be gone: names as `schema.table`, in which `*` stands for anything.
    pub allow_loss: Vec<String>,
    /// The team's own assertions.
    pub checks: Vec<Check>,
    /// Connections that count rows.
    pub jobs: usize,
}
