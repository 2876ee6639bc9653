//! What a rehearsal needs to know.

use crate::checks::Check;
use std::{fmt, path::PathBuf, time::Duration};

/// How long a command may take when nobody says.
pub const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What is rehearsed on the proven copy, and what of its findings is a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct RehearseConfig {
    /// A line for the shell, run on this machine with `DATABASE_URL` set to the copy.
    pub command: String,
    /// The role that it comes in as; default: the source's user, or where the backup names none such, the database's owner.
    pub role: Option<String>,
    /// How long it may take.
    pub limit: Duration,
    /// The team's own queries behind it; one that returns a row, or an error, fails the rehearsal.
    pub checks: Vec<Check>,
    /// The longest that a lock may be held for which readers or writers wait.
    pub max_lock: Option<Duration>,
    /// Percent of its rows that a table may lose.
    pub max_drop: u32,
    /// What must not happen.
    pub forbid: Vec<Forbidden>,
    /// The folder that it runs in; empty: this process's own.
    pub folder: PathBuf,
    /// The variables of which it gets what is its own.
    pub environment: Environment,
}

/// Variables, which hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment(pub Vec<(String, String)>);

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}

/// What must not happen in a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// A table is dropped.
    DropTable,
    /// A column is dropped.
    DropColumn,
    /// A table with more bytes than these on disk is written anew.
    Rewrite(u64),
}
