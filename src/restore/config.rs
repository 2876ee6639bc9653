//! What a restore needs to know.

use crate::{
    crypt::Identities,
    engine::Engine,
    postgres::conninfo::Target,
    sign::{PublicKeys, Signer},
    store::Destination,
    vault::{Filter, Pick, RunContext, VerifyLevel},
};
/// Everything a restore needs to know.
#[derive(Clone, Debug)]
pub struct RestoreConfig {
    /// What is restored.
    pub pick: Pick,
    /// Where backups lie; absent for a file when none was named.
    pub destination: Option<Destination>,
    /// Server and database.
    pub target: Target,
    /// How it comes into the target.
    pub place: Place,
    /// The name typed once more.
    pub confirm: Option<String>,
    /// Take a backup of the target before it is cleaned.
    pub safety_backup: bool,
    /// Patterns of hosts and database names that always ask for the name; `*` and `?` as in a shell.
    pub protect: Vec<String>,
    /// The part that is restored: `schemas`, `tables` and `schema_only` are used.
    pub part: Filter,
    /// Rows only.
    pub data_only: bool,
    /// Owners and grants.
    pub owners: Owners,
    /// Give a database that was there already the backup's own settings, grants and comment, as a new one gets them.
    pub database_properties: bool,
    /// What is compared at the end.
    pub verify: VerifyLevel,
    /// Opens a backup that is encrypted.
    pub identity: Option<Identities>,
    /// Signs the backup of the target that is taken before it is cleaned.
    pub signer: Option<Signer>,
    /// Restore only what one of these keys signed.
    pub verify_key: Option<PublicKeys>,
    /// Restore also what is not proven.
    pub force_unproven: bool,
    /// Stop after the plan.
    pub dry_run: bool,
    /// Restore a file also when it reaches out of the database and nothing keeps it in.
    pub trust_file: bool,
    /// Connections, programs, folder.
    pub engine: Engine,
    /// Where the run comes from.
    pub context: RunContext,
}

impl RestoreConfig {
    /// All of a backup into a database that is missing or empty, with its owners, compared to the last row.
    pub fn new(pick: Pick, destination: Destination, target: Target) -> RestoreConfig {
        RestoreConfig {
            pick,
            destination: Some(destination),
            target,
            place: Place::Empty,
            confirm: None,
            safety_backup: true,
            protect: Vec::new(),
            part: Filter::default(),
            data_only: false,
            owners: Owners::Keep,
            database_properties: false,
            verify: VerifyLevel::Content,
            identity: None,
            signer: None,
            verify_key: None,
            force_unproven: false,
            dry_run: false,
            trust_file: false,
            engine: Engine::default(),
            context: RunContext::default(),
        }
    }
}

/// Who comes to own what is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// The roles of the backup, which must all be there.
    Keep,
    /// The roles of the backup; missing ones are created without login.
    Create,
    /// The target's user; grants are skipped.
    Skip,
}

/// Into what a backup is restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The target database itself, which must be missing or hold no user's object.
    Empty,
    /// A new database of this name on the target's server.
    New(String),
    /// A new database (of this name, else of one made up), which then takes the target's name; the target is renamed aside.
    Swap(Option<String>),
    /// The target database itself, whose objects are removed first.
    Clean,
}
