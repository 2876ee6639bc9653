//! Dumps that pg_dump wrote, ours or not: known by what is in them, read to their very end before anything is done with them, and restored.
//!
//! pg_restore itself is no judge of a dump: a directory-format file that was cut at the end of a gzip member, or emptied, restores
//! without an error, and a custom-format file from a pipe may end early. So everything that says "whole" is looked at here: ends of
//! streams and their checksums, COPY's end marks, the blocks that the table of contents awaits, pg_dump's last line.

mod content;
mod count;
mod custom;
mod folder;
mod plain;
pub mod sql;
mod stream;

use crate::{
    archive::toc::{Entry, Toc},
    error::{self, Error, Kind, Result},
    postgres::{
        conninfo::Target,
        tools::{Run, Tools},
    },
    progress::{Event, Progress},
    verify::restore::pg_restore,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const FETCH_AGAIN: &str =
    "fetch it again and compare its size with the original's; if that is the same, take the dump again";

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

    fn of_suffix(name: &str) -> Packing {
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
struct Found {
    packing: Packing,
    source_version: Option<String>,
    dump_version: Option<String>,
    database: Option<String>,
    created: Option<String>,
    encoding: Option<String>,
    create_database: Option<String>,
    roles: BTreeSet<String>,
    extensions: BTreeSet<String>,
    tables: u64,
    rows: BTreeMap<String, Option<u64>>,
    bytes: u64,
    /// Packings without a checksum that hold data of it.
    weak: BTreeSet<Packing>,
    warnings: Vec<String>,
}

impl Found {
    fn of_toc(toc: &Toc, packing: Packing) -> Found {
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

    fn data_of(&mut self, entry: &Entry, rows: Option<u64>) {
        if entry.kind() != "TABLE DATA" {
            return;
        }
        let name = entry.copy_stmt.as_deref().and_then(sql::copied_table).unwrap_or_else(|| entry.name());
        let sum = self.rows.entry(name).or_insert(Some(0));
        *sum = sum.zip(rows).map(|(a, b)| a + b);
    }

    fn into_file(self, path: &Path, format: Format, size: u64) -> DumpFile {
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
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads a dump to its end, whatever its name is, and tells what it is; with `tools` also whether their pg_restore knows such an archive.
///
/// # Errors
/// [`Kind::Archive`] when it is no dump or not a whole one: names the byte or the member, and the cure. [`Kind::NotFound`] and
/// [`Kind::Io`] when it cannot be read.
pub async fn examine(path: &Path, tools: Option<&Tools>, progress: &dyn Progress) -> Result<DumpFile> {
    progress.event(Event::Detail(&format!("reading {} to its end", path.display())));
    let stop = Stop::default();
    let (from, flag) = (path.to_owned(), stop.0.clone());
    let reading = tokio::task::spawn_blocking(move || read(&from, &flag));
    let file = reading.await.map_err(|e| Error::new(Kind::Io, "reading the dump stopped").because(e))??;
    if let Some(tools) = tools {
        file.known_to(tools).await?;
    }
    Ok(file)
}

fn read(path: &Path, stop: &Arc<AtomicBool>) -> Result<DumpFile> {
    let unreadable = |e: io::Error| {
        let kind = if e.kind() == ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
        Error::new(kind, format!("cannot read {}", path.display())).because(e)
    };
    let meta = fs::metadata(path).map_err(unreadable)?;
    if meta.is_dir() {
        let path = if path.join("toc.dat").exists() { path.to_owned() } else { path.join("archive") };
        if !path.join("toc.dat").exists() {
            return Err(no_archive(path.parent().unwrap_or(&path)));
        }
        let size = fs::read_dir(&path).map_err(unreadable)?.filter_map(|f| Some(f.ok()?.metadata().ok()?.len())).sum();
        return Ok(folder::directory(&path, stop)?.into_file(&path, Format::Directory, size));
    }
    let head = head_of(path, Packing::None, stop).map_err(unreadable)?;
    let packing = stream::packing(&head);
    let (format, mut found) = if packing != Packing::None {
        let inner = head_of(path, packing, stop).map_err(|e| damaged(path, 0, &cut(&e)))?;
        let unpack = match packing {
            Packing::Gzip => "gunzip",
            Packing::Lz4 => "lz4 -d",
            _ => "zstd -d",
        };
        let packed = |what: &str| {
            Error::new(
                Kind::Archive,
                format!("{}: it is {what} that was packed once more by {}", path.display(), packing.name()),
            )
            .hint(format!("unpack it first, by {unpack}: pg_restore reads it only then"))
        };
        match inner.as_slice() {
            [b'P', b'G', b'D', b'M', b'P', ..] => return Err(packed("a dump of the custom format")),
            inner if is_tar(inner) => return Err(packed("a tar archive")),
            _ => {}
        }
        foreign(path, &inner)?;
        (Format::Plain, plain::examine(path, packing, stop)?)
    } else {
        match head.as_slice() {
            [b'P', b'G', b'D', b'M', b'P', _, _, _, _, _, 3 | 5, ..] => {
                return Err(Error::new(
                    Kind::Archive,
                    format!("{}: it is the table of contents of a directory-format dump", path.display()),
                )
                .hint("name its folder, with all the files in it"));
            }
            [b'P', b'G', b'D', b'M', b'P', ..] => (Format::Custom, custom::examine(path, stop)?),
            head if is_tar(head) => (Format::Tar, folder::tar(path, stop)?),
            head => {
                foreign(path, head)?;
                (Format::Plain, plain::examine(path, packing, stop)?)
            }
        }
    };
    match format {
        // What lies in an archive has no checksum of the stream around it.
        Format::Custom if found.packing != Packing::Gzip => _ = found.weak.insert(found.packing),
        Format::Plain if !stream::has_checksum(&head) => _ = found.weak.insert(packing),
        _ => {}
    }
    Ok(found.into_file(path, format, meta.len()))
}

/// The first bytes, unpacked: as many as are needed to know what it is.
fn head_of(path: &Path, packing: Packing, stop: &Arc<AtomicBool>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    stream::unpack(packing, stream::Input::open(path, stop)?)?.take(512).read_to_end(&mut head)?;
    Ok(head)
}

fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

fn no_archive(folder: &Path) -> Error {
    let error = |what: &str| Error::new(Kind::Archive, format!("{}: {what}", folder.display()));
    if folder.join("PG_VERSION").exists() {
        return error("it is a server's data folder, not a dump")
            .hint("start a server of its major on a copy of it, and dump from there");
    }
    error("the folder holds no toc.dat, so it is no dump of the directory format")
        .hint("name the folder that pg_dump -Fd wrote")
}

/// Names what is surely no dump by what it begins with.
fn foreign(path: &Path, head: &[u8]) -> Result<()> {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    let lower: String = text.chars().take(200).collect::<String>().to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|w| lower.starts_with(w));
    let decrypt = "decrypt it first, then name the decrypted file";
    let (what, hint) = match head {
        [] => ("it is empty", FETCH_AGAIN),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => (
            "it is UTF-16 text, as PowerShell's > writes it, which damages a dump",
            "take the dump again by pg_dump --file=FILE in place of >",
        ),
        [b'S', b'a', b'l', b't', b'e', b'd', b'_', b'_', ..] => ("it is encrypted by openssl", decrypt),
        [0x84 | 0x85 | 0x8c | 0xc1 | 0xc3 | 0xd2, ..] => ("it looks encrypted by gpg", decrypt),
        [b'P', b'K', 3, 4, ..] => ("it is a zip archive", "unpack it first"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("it is packed by xz", "unpack it first, by xz -d"),
        [b'B', b'Z', b'h', ..] => ("it is packed by bzip2", "unpack it first, by bunzip2"),
        _ if begins(&["age-encryption.org/", "-----begin age encrypted file"]) => ("it is encrypted by age", decrypt),
        _ if begins(&["-----begin pgp message"]) => ("it is encrypted by gpg", decrypt),
        _ if begins(&["<!doctype html", "<html"]) => (
            "it is an HTML page, most likely an error page that was saved in place of the dump",
            "download it again with curl --fail, and look at the page for the reason",
        ),
        _ if begins(&["<?xml", "<error>"]) => (
            "it is an XML document, most likely an error message of an S3 server that was saved in place of the dump",
            "download it again with curl --fail or aws s3 cp, and look at it for the reason",
        ),
        _ if begins(&["{\"", "{\n"]) => ("it is a JSON document", "name the dump itself"),
        _ if begins(&["version https://git-lfs"]) => {
            ("it is a pointer of Git LFS, not the file itself", "git lfs pull")
        }
        _ if begins(&["-- mysql dump", "-- mariadb dump", "/*m!999999"]) => (
            "it is a dump of MySQL or MariaDB",
            "only dumps of pg_dump can be restored; pgloader moves a MySQL database into PostgreSQL",
        ),
        _ if begins(&["sqlite format 3", "pragma foreign_keys"]) => {
            ("it is a database or dump of SQLite", "only dumps of pg_dump can be restored")
        }
        _ if head.contains(&0) => {
            ("it is no dump of pg_dump: it begins neither with PGDMP nor as a script", FETCH_AGAIN)
        }
        _ => return Ok(()),
    };
    Err(Error::new(Kind::Archive, format!("{}: {what}", path.display())).hint(hint))
}

/// A dump that is cut off or damaged. `at`: bytes of the file that were read.
fn damaged(path: &Path, at: u64, why: &str) -> Error {
    let size = fs::metadata(path).map(|m| m.len()).unwrap_or(at);
    let place = if at >= size { format!("at its end, byte {at}") } else { format!("at about byte {at} of {size}") };
    Error::new(Kind::Archive, format!("{}: damaged {place}: {why}", path.display())).hint(FETCH_AGAIN)
}

/// A reader's error in words.
fn cut(e: &io::Error) -> String {
    match e.kind() {
        ErrorKind::UnexpectedEof => "it was cut off: its data ends too early".into(),
        _ => format!("its data cannot be unpacked ({e})"),
    }
}

impl DumpFile {
    /// Whether the pg_restore of these tools reads such an archive.
    ///
    /// # Errors
    /// [`Kind::Tool`] with its reason.
    pub async fn known_to(&self, tools: &Tools) -> Result<()> {
        if self.format == Format::Plain {
            return Ok(());
        }
        let run =
            Run::new(&tools.pg_restore).args(["--list", &format!("--format={}", self.format.name())]).arg(&self.path);
        let newer = |e: Error| {
            let by = self.dump_version.as_deref().unwrap_or("an unknown version");
            e.context(format!("{} was written by pg_dump {by}", self.path.display()))
                .hint("use the PostgreSQL programs of that version or a later one: --pg-bin-dir names their folder")
        };
        let output = run.output().await.map_err(newer)?;
        // It only warns when it cannot read the data.
        match output.stderr_lines.iter().find(|l| l.contains("does not support compression")) {
            Some(line) => Err(newer(Error::new(Kind::Tool, line.clone()))),
            None => Ok(()),
        }
    }

    /// Restores it into a database that is there; roles and extensions are the caller's concern. `scratch`: a folder for small files.
    /// What could not be restored is a line of the answer; no line: every statement succeeded. Tablespaces are left out, and
    /// subscriptions of an archive.
    ///
    /// # Errors
    /// [`Kind::Usage`] when a plain dump is to be restored in part; [`Kind::Tool`] and [`Kind::Database`] when the restore broke off.
    pub async fn restore(
        &self,
        tools: &Tools,
        target: &Target,
        scratch: &Path,
        options: &Options,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<String>> {
        if self.format == Format::Plain {
            let whole = Options { jobs: options.jobs, ..Options::default() };
            if *options != whole {
                return Err(Error::new(Kind::Usage, format!("{}: a plain dump is a script and runs as a whole", self.path.display()))
                    .hint("leave out schemas, tables, schema-only, data-only and no-owner; create-roles makes roles that are missing"));
            }
            return plain::restore(&self.path, self.compression, target, progress).await;
        }
        let mut args: Vec<OsString> = vec![format!("--format={}", self.format.name()).into()];
        let flags = [
            (options.no_owner, "--no-owner"),
            (options.no_owner, "--no-privileges"),
            (options.schema_only, "--schema-only"),
            (options.data_only, "--data-only"),
        ];
        args.extend(flags.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag.into()));
        args.extend(options.schemas.iter().map(|s| format!("--schema={s}").into()));
        args.extend(options.tables.iter().map(|t| format!("--table={t}").into()));
        if self.format != Format::Tar && options.jobs > 1 {
            args.push(format!("--jobs={}", options.jobs).into());
        }
        args.extend(self.without_public(tools, scratch).await?);
        pg_restore(tools, target, &self.path, &args, progress).await
    }

    /// Every new database has the schema `public`, so its creation is left out.
    async fn without_public(&self, tools: &Tools, scratch: &Path) -> Result<Option<OsString>> {
        let run =
            Run::new(&tools.pg_restore).args(["--list", &format!("--format={}", self.format.name())]).arg(&self.path);
        let list = run.output().await?.stdout;
        let is_public = |line: &&[u8]| {
            let text = String::from_utf8_lossy(line);
            let words: Vec<&str> = text.split_whitespace().skip(3).take(3).collect();
            words == ["SCHEMA", "-", "public"]
        };
        if !list.split(|b| *b == b'\n').any(|line| is_public(&line)) {
            return Ok(None);
        }
        let kept: Vec<&[u8]> = list.split(|b| *b == b'\n').filter(|line| !is_public(line)).collect();
        let path = scratch.join("dump.list");
        fs::write(&path, kept.join(&b'\n')).map_err(error::io(format!("cannot write {}", path.display())))?;
        let mut option = OsString::from("--use-list=");
        option.push(&path);
        Ok(Some(option))
    }
}
