//! What is known of a dump once it is read, and the words for one that is not whole.

use super::{content::Data, reach::Reach, sql};
use crate::archive::toc::{Entry, Toc};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// The formats of pg_dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A script (`-Fp`).
    Plain,
    /// One file with a table of contents (`-Fc`).
    Custom,
    /// A tar archive (`-Ft`).
    Tar,
    /// A folder (`-Fd`); also the `archive/` folder of a backup of ours.
    Directory,
}

impl Format {
    /// As pg_dump and pg_restore call it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Custom => "custom",
            Format::Tar => "tar",
            Format::Directory => "directory",
        }
    }
}

/// How a dump, or the data in it, is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// Not at all.
    #[default]
    None,
    /// gzip, or zlib within the custom format.
    Gzip,
    /// LZ4 frames.
    Lz4,
    /// Zstandard frames.
    Zstd,
}

impl Packing {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Packing::None => "none",
            Packing::Gzip => "gzip",
            Packing::Lz4 => "lz4",
            Packing::Zstd => "zstd",
        }
    }

    pub(super) fn of_suffix(name: &str) -> Packing {
        match name.rsplit_once('.').map(|(_, suffix)| suffix) {
            Some("gz") => Packing::Gzip,
            Some("lz4") => Packing::Lz4,
            Some("zst") => Packing::Zstd,
            _ => Packing::None,
        }
    }
}

/// A dump that was read to its end and found whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpFile {
    /// The file or folder.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// How its data is compressed.
    pub compression: Packing,
    /// Bytes on the disk.
    pub size: u64,
    /// Version of the server that was dumped, as pg_dump printed it.
    pub source_version: Option<String>,
    /// Version of pg_dump.
    pub dump_version: Option<String>,
    /// Major version of the server that was dumped.
    pub major: Option<u32>,
    /// The dumped database's name; a plain dump knows it only with `--create`.
    pub database: Option<String>,
    /// When the dump began, by the clock and in the time zone of the machine that took it.
    pub created: Option<String>,
    /// What was seen that may be wrong, and what the checks could not see.
    pub warnings: Vec<String>,
    /// The encoding of its texts, such as `UTF8`.
    pub encoding: Option<String>,
    /// Roles that it names as owners or in grants.
    pub roles: Vec<String>,
    /// Extensions that it creates.
    pub extensions: Vec<String>,
    /// Tables that it creates.
    pub tables: u64,
    /// Rows by table, whose name stands as in its COPY statement, quoted where it must be; `None`: INSERT statements, which are not counted.
    pub rows: BTreeMap<String, Option<u64>>,
    /// Bytes of its data, unpacked.
    pub bytes: u64,
    /// The statement that creates the database, where the dump holds it: encoding and locale.
    pub create_database: Option<String>,
    /// What in it reaches out of the database: runs programs, touches the server's files, loads code, or cannot be told. A line each, none
    /// for what pg_dump writes of an ordinary database.
    pub reaches: Vec<String>,
}

/// How a dump is restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Connections, for the custom and the directory format.
    pub jobs: usize,
    /// Everything comes to belong to the target's user; grants are skipped.
    pub no_owner: bool,
    /// No rows.
    pub schema_only: bool,
    /// Rows only.
    pub data_only: bool,
    /// Only these schemas.
    pub schemas: Vec<String>,
    /// Only these tables.
    pub tables: Vec<String>,
}

/// What was found while a dump was read.
#[derive(Default)]
pub(super) struct Found {
    pub(super) packing: Packing,
    pub(super) source_version: Option<String>,
    pub(super) dump_version: Option<String>,
    pub(super) database: Option<String>,
    pub(super) created: Option<String>,
    pub(super) encoding: Option<String>,
    pub(super) create_database: Option<String>,
    pub(super) roles: BTreeSet<String>,
    pub(super) extensions: BTreeSet<String>,
    pub(super) tables: u64,
    pub(super) rows: BTreeMap<String, Option<u64>>,
    pub(super) bytes: u64,
    /// Packings without a checksum that hold data of it.
    pub(super) weak: BTreeSet<Packing>,
    pub(super) warnings: Vec<String>,
    pub(super) reach: Reach,
}

impl Found {
    pub(super) fn of_toc(toc: &Toc, packing: Packing) -> Found {
        let text = |s: &Option<Vec<u8>>| s.as_deref().map(|s| String::from_utf8_lossy(s).into_owned());
        let [second, minute, hour, day, month, year, _] = toc.time;
        let mut found = Found {
            packing,
            source_version: text(&toc.server_version),
            dump_version: text(&toc.dump_version),
            database: text(&toc.dbname),
            created: Some(format!(
                "{:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}",
                i64::from(year) + 1900,
                i64::from(month) + 1
            )),
            encoding: toc.encoding(),
            tables: toc.tables().len() as u64,
            ..Found::default()
        };
        found.reach.of_toc(toc);
        for entry in &toc.entries {
            found.roles.extend(text(&entry.owner).filter(|o| !o.is_empty()));
            let Some(defn) = entry.defn.as_deref().filter(|d| !d.is_empty()) else { continue };
            match entry.kind() {
                "EXTENSION" => found.extensions.extend(text(&entry.tag)),
                "DATABASE" => found.create_database = text(&entry.defn),
                "ACL" | "DEFAULT ACL" | "POLICY" | "USER MAPPING" | "DATABASE PROPERTIES" => {
                    let mut script = sql::Script::new(defn);
                    while let Ok(Some(piece)) = script.next_piece() {
                        if let sql::Piece::Statement(statement) = piece {
                            found.roles.extend(sql::roles(&statement));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    pub(super) fn data_of(&mut self, entry: &Entry, data: Data) {
        let rows = match data {
            Data::Rows(rows) => Some(rows),
            Data::Inserts(text) => {
                self.reach.inserts(entry, &text);
                None
            }
            Data::Bytes => None,
        };
        if entry.kind() != "TABLE DATA" {
            return;
        }
        let name = entry.copy_stmt.as_deref().and_then(sql::copied_table).unwrap_or_else(|| entry.name());
        let sum = self.rows.entry(name).or_insert(Some(0));
        *sum = sum.zip(rows).map(|(a, b)| a + b);
    }

    pub(super) fn into_file(self, path: &Path, format: Format, size: u64) -> DumpFile {
        let mut warnings = self.warnings;
        let weak: Vec<&str> =
            self.weak.iter().map(|p| if *p == Packing::None { "uncompressed data" } else { p.name() }).collect();
        if !weak.is_empty() {
            warnings.push(format!(
                "it carries no checksum ({}): a changed byte that leaves it well-formed cannot be seen",
                weak.join(", ")
            ));
        }
        let major = self.source_version.as_deref().and_then(major);
        if major.is_none() {
            warnings.push("it does not say which version of PostgreSQL it comes from".into());
        }
        DumpFile {
            path: path.to_owned(),
            format,
            compression: self.packing,
            size,
            source_version: self.source_version,
            dump_version: self.dump_version,
            major,
            database: self.database,
            created: self.created,
            warnings,
            encoding: self.encoding,
            roles: self.roles.into_iter().collect(),
            extensions: self.extensions.into_iter().filter(|e| e != "plpgsql").collect(),
            tables: self.tables,
            rows: self.rows,
            bytes: self.bytes,
            create_database: self.create_database,
            reaches: self.reach.lines(),
        }
    }
}

/// `17.5 (Debian 17.5-1)`, `19beta1` to the major version.
pub(crate) fn major(version: &str) -> Option<u32> {
    let end = version.find(|c: char| !c.is_ascii_digit()).unwrap_or(version.len());
    version.get(..end)?.parse().ok()
}

/// Tells a reading thread that nobody waits for it any more.
#[derive(Default)]
pub(super) struct Stop(pub(super) Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
