//! What the SQL of a role is made for.

use crate::{postgres::conninfo::Target, vault::Filter};

/// What the SQL is made for.
#[derive(Clone, Debug)]
pub struct SetupRoleConfig {
    /// The database, as an administrator reaches it.
    pub source: Target,
    /// Name of the role.
    pub role: String,
    /// What the role's backups take.
    pub filter: Filter,
}
