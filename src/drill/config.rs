//! What a restore drill needs to know.

use crate::{
    crypt::Identities,
    engine::{Engine, Guard},
    postgres::conninfo::Target,
    rehearse::RehearseConfig,
    sign::{PublicKeys, Signer},
    store::Destination,
    vault::{Pick, VerifyLevel},
};
use std::{path::PathBuf, time::Duration};

/// Everything a restore drill needs to know.
#[derive(Clone, Debug)]
pub struct VerifyConfig {
    /// What is proven.
    pub pick: Pick,
    /// Where backups lie; absent for a file when none was named.
    pub destination: Option<Destination>,
    /// How much is proven; never [`VerifyLevel::None`].
    pub level: VerifyLevel,
    /// A server in place of the built-in one.
    pub verify_url: Option<Target>,
    /// How the built-in server is kept in.
    pub guard: Guard,
    /// The team's own assertions.
    pub check_sql: Option<PathBuf>,
    /// What is rehearsed on the proven copy.
    pub rehearse: Option<RehearseConfig>,
    /// Opens a backup that is encrypted.
    pub identity: Option<Identities>,
    /// Signs the record of the proof.
    pub signer: Option<Signer>,
    /// Take only what one of these keys signed.
    pub verify_key: Option<PublicKeys>,
    /// The longest that a restore may take.
    pub max_rto: Option<Duration>,
    /// The oldest that the backup may be.
    pub max_age: Option<Duration>,
    /// Restore a file also when it reaches out of the database and nothing keeps it in.
    pub trust_file: bool,
    /// Connections, programs, folder.
    pub engine: Engine,
}

impl VerifyConfig {
    /// A proof to the last row, by the built-in throwaway server.
    pub fn new(pick: Pick, destination: Destination) -> VerifyConfig {
        VerifyConfig {
            pick,
            destination: Some(destination),
            level: VerifyLevel::Content,
            verify_url: None,
            guard: Guard::default(),
            check_sql: None,
            rehearse: None,
            identity: None,
            signer: None,
            verify_key: None,
            max_rto: None,
            max_age: None,
            trust_file: false,
            engine: Engine::default(),
        }
    }
}
