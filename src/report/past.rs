//! What stood before a run.

use super::overview::{Moment, Point};
use crate::vault::manifest::Table;
use serde::Serialize;
use std::collections::HashMap;

/// Tables that a summary shows.
const LARGEST: usize = 10;

/// What stood before a run, as far as it was looked up.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Past {
    /// The newest backup that is proven by a restore, besides the run's own; looked up where the run failed.
    pub last_proven: Option<Proven>,
    /// The runs before it failed.
    pub failing: Failing,
    /// The last backups of the database and kind, the run's own the last.
    pub trend: Vec<Point>,
}

/// What a destination says of proven backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proven {
    /// The newest.
    Last(Moment),
    /// None of so many, the newest ones that lie there.
    NoneOf(u64),
}

impl Proven {
    /// In one line.
    pub fn line(&self) -> String {
        match self {
            Proven::Last(last) => format!("{} ago ({})", last.age, last.id),
            Proven::NoneOf(0) => "never: no backup lies there".into(),
            Proven::NoneOf(1) => "never: the one backup that lies there is not proven".into(),
            Proven::NoneOf(n) => format!("none of the last {n} backups"),
        }
    }
}

/// The backup before of the same database and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its id.
    pub id: String,
    /// What the largest tables of the later one were in it, by schema and name; a table that is not here is new.
    pub tables: HashMap<(String, String), Size>,
}

/// How large a table was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: u64,
    /// Bytes of the content.
    pub bytes: u64,
}

/// The tables with most data that are worth a line, the largest first.
pub fn largest(tables: &[Table]) -> Vec<&Table> {
    let mut tables: Vec<&Table> = tables.iter().collect();
    tables.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| (&a.schema, &a.name).cmp(&(&b.schema, &b.name))));
    tables.truncate(LARGEST);
    tables
}

/// Whether the runs before one failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failing {
    /// Nobody asked, or nobody answered.
    #[default]
    Unknown,
    /// The one before did not.
    No,
    /// So many in a row did.
    Since {
        /// Runs.
        runs: u64,
        /// When the first of them ended (RFC 3339, UTC).
        at: String,
        /// How long ago, in words.
        age: String,
    },
}
