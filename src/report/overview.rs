//! What lies in a destination, database by database: what the status page, its JSON and the metrics are made of.

use super::{
    format::{bytes, count, counted, seconds},
    page::{Page, Table, Verdict},
};
use crate::vault::{BackupKind, VerifyLevel};
use serde::Serialize;
use serde_json::json;

/// Days that the calendar shows, the last of them today: 26 weeks.
pub const DAYS: usize = 182;

/// What an overview is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A page that stands alone.
    #[default]
    Html,
    /// An object.
    Json,
    /// Prometheus' text format, for node_exporter's text folder.
    Prometheus,
    /// OpenMetrics.
    Openmetrics,
}

impl Format {
    /// The name of the file.
    pub fn file(self) -> &'static str {
        match self {
            Format::Html => "index.html",
            Format::Json => "savepoint.json",
            Format::Prometheus => "savepoint.prom",
            Format::Openmetrics => "savepoint.txt",
        }
    }
}

/// What lies in a destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Overview {
    /// When it was looked at (RFC 3339, UTC).
    pub made_at: String,
    /// Version of the program.
    pub tool_version: String,
    /// The destination's address.
    pub destination: String,
    /// How old the newest proven backup may be, in seconds.
    pub rpo_seconds: Option<u64>,
    /// How long a restore may take, in seconds.
    pub rto_seconds: Option<u64>,
    /// The price of a GiB for a month that the costs are estimated by.
    pub price_per_gib: Option<f64>,
    /// What the price is in: `USD`.
    pub currency: String,
    /// Every database that has a backup or a failure, by name.
    pub databases: Vec<Database>,
    /// What could not be looked at, or is damaged.
    pub warnings: Vec<String>,
}

/// How a database stands, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// No backup that could be restored is known.
    Unproven,
    /// The newest run failed.
    Failing,
    /// A newer backup than the newest proven one is damaged, or its proof failed.
    Damaged,
    /// The newest proven backup is older than the goal.
    Late,
    /// A restore takes longer than the goal.
    Slow,
    /// As it should be.
    Good,
}

/// A database's backups.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// The same in a line.
    pub says: String,
    /// The newest backup.
    pub last_backup: Option<Moment>,
    /// The newest backup whose last proof restored it and found all equal.
    pub last_proven: Option<Moment>,
    /// Seconds since then: what would be lost now.
    pub rpo_seconds: Option<u64>,
    /// What the last proof's restore took, in seconds.
    pub rto_seconds: Option<f64>,
    /// One for each of the last [`DAYS`] days, the oldest first.
    pub days: Vec<Day>,
    /// One for each backup of which the numbers are known, the oldest first.
    pub points: Vec<Point>,
    /// Runs that failed, the newest first.
    pub failures: Vec<Failed>,
    /// Finished backups.
    pub backups: u64,
    /// Bytes of all their objects.
    pub stored_bytes: u64,
    /// What they cost a month, by the price.
    pub cost: Option<f64>,
    /// What the next pruning deletes, the oldest first.
    pub prunes_next: Vec<Pruned>,
    /// Every backup, the newest first.
    pub audit: Vec<Audited>,
}

/// A backup and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// Its id.
    pub id: String,
    /// When it was taken (RFC 3339, UTC).
    pub at: String,
    /// How long ago, in words: `6 h`.
    pub age: String,
}

/// What was on a day (UTC).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Day {
    /// `2026-11-30`
    pub date: String,
    /// Backups that are proven by a restore.
    pub proven: u32,
    /// Backups that are not.
    pub unproven: u32,
    /// Runs that failed.
    pub failed: u32,
}

/// Numbers of a backup.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// When it was taken (RFC 3339, UTC).
    pub at: String,
    /// The same in seconds since 1970.
    pub unix: i64,
    /// Rows.
    pub rows: u64,
    /// Bytes of the content.
    pub bytes: u64,
    /// Bytes of what is stored.
    pub stored_bytes: u64,
    /// Seconds until it was stored.
    pub seconds: Option<f64>,
    /// Seconds of its last proof's restore.
    pub restore_seconds: Option<f64>,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// When it ended (RFC 3339, UTC).
    pub at: String,
    /// Why it ran.
    pub kind: BackupKind,
    /// The phase that it failed in.
    pub phase: String,
    /// Why, in a line.
    pub message: String,
    /// The backup that it stored, where it stored one.
    pub backup: Option<String>,
    /// The run's own page.
    pub run_url: Option<String>,
}

/// A backup that the next pruning deletes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Its id.
    pub id: String,
    /// Its age in words: `31 d`.
    pub age: String,
    /// Bytes of its objects.
    pub stored_bytes: u64,
}

/// A line of the audit: who took what, and what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// Its id.
    pub id: String,
    /// When it was taken (RFC 3339, UTC).
    pub at: String,
    /// Why it was taken.
    pub kind: BackupKind,
    /// Tables; absent where the manifest cannot be read.
    pub tables: Option<u64>,
    /// Rows.
    pub rows: Option<u64>,
    /// Bytes of its objects.
    pub stored_bytes: u64,
    /// `passed`, `failed`, `none` or `damaged`.
    pub proof: &'static str,
    /// What the last proof covered.
    pub level: Option<VerifyLevel>,
    /// When it ended (RFC 3339, UTC).
    pub proven_at: Option<String>,
    /// SHA-256 (hex) of the manifest that it proved.
    pub manifest_sha256: Option<String>,
    /// The public key that it is signed by.
    pub signed_by: Option<String>,
    /// Until when it is locked, in words.
    pub locked: Option<String>,
    /// `owner/name`
    pub repository: Option<String>,
    /// The commit, hex.
    pub commit: Option<String>,
    /// Who started the run.
    pub actor: Option<String>,
    /// The run's own page.
    pub run_url: Option<String>,
    /// Why it is no good backup.
    pub damage: Vec<String>,
}

impl Standing {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Standing::Unproven => "not proven",
            Standing::Failing => "failing",
            Standing::Damaged => "damaged",
            Standing::Late => "late",
            Standing::Slow => "slow restore",
            Standing::Good => "good",
        }
    }
}

/// How many of them, of which there are some, need attention.
pub(super) fn attention<'a>(databases: impl IntoIterator<Item = &'a Database>) -> String {
    let (mut all, mut amiss) = (0, 0);
    for database in databases {
        all += 1;
        amiss += u64::from(database.standing != Standing::Good);
    }
    match (all, amiss) {
        (1, 0) => "the database is as it should be".into(),
        (_, 0) => format!("all {} databases are as they should be", count(all)),
        (1, _) => "the database needs attention".into(),
        (_, 1) => format!("1 of {} databases needs attention", count(all)),
        _ => format!("{} of {} databases need attention", count(amiss), count(all)),
    }
}

impl Overview {
    /// How all of it stands, in a few words.
    pub fn headline(&self) -> String {
        match self.databases.is_empty() {
            true => format!("no backups in {}", self.destination),
            false => attention(&self.databases),
        }
    }

    /// Its databases, the worst first; those that stand alike in the order of their names.
    pub(super) fn worst_first(&self) -> Vec<&Database> {
        let mut databases: Vec<&Database> = self.databases.iter().collect();
        databases.sort_by_key(|d| d.standing);
        databases
    }

    /// The same as the page that every verb has: a line for each database, the worst first.
    pub fn page(&self) -> Page {
        let mut page = Page::new("report", self.headline());
        let databases = self.worst_first();
        if !self.warnings.is_empty() || databases.first().is_none_or(|d| d.standing != Standing::Good) {
            page.verdict = Verdict::Doubtful;
        }
        let row = |d: &&Database| {
            vec![
                d.name.clone(),
                d.standing.words().to_owned(),
                d.last_proven.as_ref().map_or_else(|| "never".to_owned(), |m| format!("{} ago", m.age)),
                d.rto_seconds.map(seconds).unwrap_or_default(),
                counted(d.backups, "backup"),
                bytes(d.stored_bytes),
                d.says.clone(),
            ]
        };
        let columns = vec![
            ("database", false),
            ("standing", false),
            ("proven", false),
            ("restore", true),
            ("there", true),
            ("stored", true),
            ("", false),
        ];
        page.tables.push(Table {
            title: String::new(),
            columns,
            rows: databases.iter().map(row).collect(),
            whole: true,
        });
        page.warnings = self.warnings.clone();
        page.json = json!({ "overview": self });
        page
    }
}
