//! Running pg_dump for everything but the rows that we take over, and reading what it left.

use super::{
    catalog::RawName,
    locks::{Locks, overtaken},
    plan::Plan,
};
use crate::{
    archive::{compression::Compression, fingerprint::Fingerprint, frame, toc::Toc},
    error::{self, Error, Kind, Result},
    postgres::{
        conninfo::Target,
        tools::{Run, Stdout, Tools},
    },
    progress::{Event, Progress},
    vault::{
        Filter,
        manifest::{LargeObject, Sequence},
    },
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    io::Read,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

/// How long pg_dump waits for a lock. Our own ACCESS SHARE locks stand, so it can only queue behind an ALTER that waits for us: a
/// deadlock that no one would break, so waiting is pointless and we start over instead.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How long it waits where we hold none: as long as [`super::snapshot::LOCK_TIMEOUT`] says.
const LOCK_WAIT_ALONE: Duration = Duration::from_secs(60);

/// What pg_dump says of something that was dropped between its snapshot and its lock.
const GONE: [&str; 3] = ["does not exist", "could not open relation", "cache lookup failed"];

/// What pg_dump wrote.
pub struct Dumped {
    /// The folder.
    pub folder: PathBuf,
    /// Its table of contents, without our tables' data.
    pub toc: Toc,
    /// Names of its other files, sorted.
    pub files: Vec<String>,
}

/// An argument `--flag=pattern` in the database's encoding.
fn flag(flag: &str, value: &[u8]) -> OsString {
    OsString::from_vec([flag.as_bytes(), b"=", value].concat())
}

/// Options that say what is taken, for pg_dump.
pub fn filter_args(filter: &Filter) -> Vec<OsString> {
    let mut args = Vec::new();
    for (name, patterns) in [
        ("--schema", &filter.schemas),
        ("--exclude-schema", &filter.exclude_schemas),
        ("--table", &filter.tables),
        ("--exclude-table", &filter.exclude_tables),
        ("--exclude-table-data", &filter.exclude_table_data),
    ] {
        args.extend(patterns.iter().map(|p| flag(name, p.as_bytes())));
    }
    if filter.schema_only {
        args.push("--schema-only".into());
    }
    if filter.names_a_part() {
        // A pattern that matches nothing is a mistyped one.
        args.push("--strict-names".into());
    }
    args
}

/// How pg_dump dumps.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// The exported snapshot; none: its own.
    pub snapshot: Option<&'a str>,
    /// How the tables are locked.
    pub locks: Locks,
    /// How our own files are compressed.
    pub compression: Compression,
}

/// Starts pg_dump in the exported snapshot, into `<folder>`, which must not exist yet. At once: until it has its locks, a migration
/// may come between ours and its own.
pub fn start(
    tools: &Tools,
    target: &Target,
    filter: &Filter,
    plan: &Plan,
    How { snapshot, locks, compression }: How<'_>,
    folder: &Path,
    progress: Arc<dyn Progress>,
) -> Result<AbortOnDropHandle<Result<Dumped>>> {
    // It counts for one LOCK statement over many tables, which takes its time without any waiting.
    let wait = if locks == Locks::Kept { LOCK_WAIT } else { LOCK_WAIT_ALONE };
    let wait = wait + Duration::from_millis(2 * (plan.streams.len() + plan.pg_dump.len()) as u64);
    let mut run = Run::new(&tools.pg_dump)
        .args(["--format=directory", "--no-sync"])
        .arg(format!("--lock-wait-timeout={}", wait.as_millis()))
        .args(snapshot.map(|snapshot| format!("--snapshot={snapshot}")))
        // Its own files are gzipped whatever we use: pg_dump 19rc1 writes empty large objects in zstd that it cannot restore.
        .arg(if compression == Compression::None { "--compress=0" } else { "--compress=6" })
        .arg(flag("--file", folder.as_os_str().as_encoded_bytes()))
        // The database's name comes by the environment; keepalives have no variable of their own.
        .args(["--dbname", "keepalives=1 keepalives_idle=30 keepalives_interval=10 keepalives_count=6"])
        .args(filter_args(filter))
        .stdout(Stdout::Null)
        .target(target)
        .on_line(Arc::new(move |line: &str| progress.event(Event::Detail(line))));
    for pattern in &plan.exclusions {
        run = run.arg(flag("--exclude-table-data", pattern));
    }
    Ok(AbortOnDropHandle::new(tokio::spawn(finish(run, locks, folder.to_owned()))))
}

async fn finish(run: Run, locks: Locks, folder: PathBuf) -> Result<Dumped> {
    run.output().await.map_err(|e| {
        // pg_dump sets --lock-wait-timeout as statement_timeout while it locks, and as nothing else.
        if e.message().contains("due to statement timeout") || e.message().contains("due to lock timeout") {
            Error::new(Kind::Locked, "pg_dump cannot lock the tables: another session waits to change one of them")
                .because(e)
                .hint("take the backup while no migration runs")
        } else if locks == Locks::Passing && GONE.iter().any(|words| e.message().contains(words)) {
            overtaken("another session dropped something").because(e)
        } else if e.message().contains("out of shared memory") {
            // Its messages are in English, as its environment is ours.
            Error::new(Kind::LocksFull, "pg_dump cannot lock the tables: the server's table of locks is full").because(e)
        } else if e.message().contains("were found for pattern") {
            e.hint("correct the pattern of tables or schemas: one that matches nothing is taken for a mistake")
        } else if e.message().contains("invalid snapshot identifier") {
            e.hint("pg_dump reached another server than we did: name one host, not a balanced address or a pool of replicas")
        } else {
            e
        }
    })?;
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(error::io(format!("cannot read {}", folder.display())))? {
        let entry = entry.map_err(error::io(format!("cannot read {}", folder.display())))?;
        files.push(entry.file_name().to_string_lossy().into_owned());
    }
    files.retain(|f| f != "toc.dat");
    files.sort();
    let path = folder.join("toc.dat");
    let bytes = std::fs::read(&path).map_err(error::io(format!("cannot read {}", path.display())))?;
    Ok(Dumped { folder, toc: Toc::parse(&bytes)?, files })
}

impl Dumped {
    /// OIDs of the tables whose rows pg_dump wrote.
    pub fn rows_written(&self) -> BTreeSet<u32> {
        self.toc.entries.iter().filter(|e| e.kind() == "TABLE DATA").filter_map(|e| e.oid()).collect()
    }

    /// Makes sure that together we took exactly what the archive names: no table between two stools.
    pub fn check_against(&self, plan: &Plan) -> Result<()> {
        let written = self.rows_written();
        let streamed: BTreeSet<u32> = plan.streams.iter().map(|t| t.relation.oid).collect();
        let hole = |what: &str, oid: u32| {
            let name = plan.streams.iter().map(|t| &t.relation).chain(&plan.pg_dump).find(|r| r.oid == oid);
            let name = name.map_or_else(|| format!("with OID {oid}"), |r| r.label());
            Err(Error::new(Kind::Archive, format!("table {name} {what}"))
                .hint("run it again; if it happens again, report it with the table's definition"))
        };
        for table in self.toc.tables() {
            let ours = streamed.contains(&table.oid);
            if ours && written.contains(&table.oid) {
                return hole("was written by pg_dump although we took it over", table.oid);
            }
        }
        let named: BTreeSet<u32> = self.toc.tables().iter().map(|t| t.oid).collect();
        for &oid in &plan.expected {
            if !named.contains(&oid) {
                return hole("is not in pg_dump's table of contents", oid);
            }
            if !streamed.contains(&oid) && !written.contains(&oid) {
                return hole("has rows that nobody took", oid);
            }
        }
        let known: BTreeSet<u32> = plan.pg_dump.iter().map(|r| r.oid).collect();
        match written.iter().find(|oid| !known.contains(oid)) {
            Some(&oid) => hole("was written by pg_dump, but was not in the snapshot's list", oid),
            None => Ok(()),
        }
    }

    /// The values that the archive sets sequences to, in order of their names, and a line for each whose name cannot be used.
    pub fn sequences(&self, names: &HashMap<RawName, (String, String)>) -> Result<(Vec<Sequence>, Vec<String>)> {
        let (mut sequences, mut unproven) = (Vec::new(), Vec::new());
        let entries = self.toc.entries.iter().filter(|e| e.kind() == "SEQUENCE SET");
        for (entry, mut sequence) in entries.zip(self.toc.sequences()?) {
            let raw = (entry.namespace.clone().unwrap_or_default(), entry.tag.clone().unwrap_or_default());
            match names.get(&raw) {
                Some((schema, name)) => {
                    (sequence.schema, sequence.name) = (schema.clone(), name.clone());
                    sequences.push(sequence);
                }
                None => unproven.push(format!("value of sequence {}: its name is no UTF-8", entry.name())),
            }
        }
        sequences.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        Ok((sequences, unproven))
    }

    /// Size and SHA-256 of each large object's content, by OID, from the files that pg_dump wrote.
    pub fn large_object_contents(&self) -> Result<BTreeMap<u32, (u64, String)>> {
        let mut found = BTreeMap::new();
        for list in self.toc.large_objects().lists {
            let text = String::from_utf8_lossy(&self.content(&list)?).into_owned();
            for line in text.lines() {
                let Some((oid, name)) = line.split_once(' ') else { continue };
                let oid = oid
                    .parse()
                    .map_err(|e| Error::new(Kind::Archive, format!("{list} names no OID: {line}")).because(e))?;
                found.insert(oid, self.digest(name)?);
            }
        }
        Ok(found)
    }

    fn stored_name(&self, name: &str) -> Result<&str> {
        let found = self.files.iter().find(|f| *f == name || f.strip_suffix(".gz") == Some(name));
        found.map(String::as_str).ok_or_else(|| Error::new(Kind::Archive, format!("pg_dump did not write {name}")))
    }

    fn open(&self, name: &str) -> Result<Box<dyn Read + Send>> {
        let name = self.stored_name(name)?;
        let path = self.folder.join(name);
        let failed = error::io(format!("cannot read {}", path.display()));
        let file = std::io::BufReader::with_capacity(256 << 10, std::fs::File::open(&path).map_err(failed)?);
        Ok(match Compression::of_file(name) {
            Compression::Gzip(_) => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            _ => Box::new(file),
        })
    }

    fn content(&self, name: &str) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open(name)?.read_to_end(&mut content).map_err(frame::damaged)?;
        Ok(content)
    }

    /// What the rows of a table's file are, its end mark left out.
    pub fn fingerprint(&self, name: &str) -> Result<Fingerprint> {
        let (mut reader, mut sum) = (self.open(name)?, Fingerprint::default());
        let (mut buffer, mut row) = (vec![0; 256 << 10], None);
        // The last bytes of a file are its end mark; they are known to be the last when nothing follows.
        let mut held: Vec<u8> = Vec::new();
        loop {
            let read = reader.read(&mut buffer).map_err(frame::damaged)?;
            held.extend_from_slice(&buffer[..read]);
            let rows = match read {
                0 => held.strip_suffix(frame::TERMINATOR).ok_or_else(|| cut(name))?.len(),
                _ => held.len().saturating_sub(frame::TERMINATOR.len()),
            };
            for line in held[..rows].split_inclusive(|&b| b == b'\n') {
                sum.add_piece(&mut row, line, line.ends_with(b"\n"));
            }
            held.drain(..rows);
            if read == 0 {
                return if row.is_none() { Ok(sum) } else { Err(cut(name)) };
            }
        }
    }

    fn digest(&self, name: &str) -> Result<(u64, String)> {
        let (mut reader, mut sha, mut size) = (self.open(name)?, Sha256::new(), 0);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer).map_err(frame::damaged)? {
                0 => return Ok((size, hex::encode(sha.finalize()))),
                n => {
                    sha.update(&buffer[..n]);
                    size += n as u64;
                }
            }
        }
    }

    /// Bytes of a file.
    pub fn size(&self, name: &str) -> Result<u64> {
        let path = self.folder.join(name);
        Ok(std::fs::metadata(&path).map_err(error::io(format!("cannot read {}", path.display())))?.len())
    }

    /// A file's bytes as they are to be stored.
    pub fn read(&self, name: &str) -> Result<Bytes> {
        let path = self.folder.join(name);
        Ok(std::fs::read(&path).map_err(error::io(format!("cannot read {}", path.display())))?.into())
    }
}

fn cut(name: &str) -> Error {
    Error::new(Kind::Archive, format!("pg_dump's file {name} does not end as it should"))
}

/// Joins the catalog's view of the large objects with their contents; they must be the same ones.
pub fn large_objects(
    catalog: Vec<super::catalog::LargeObjectMeta>,
    mut contents: BTreeMap<u32, (u64, String)>,
) -> Result<Vec<LargeObject>> {
    let mut all = Vec::new();
    for meta in catalog {
        let Some((size, sha256)) = contents.remove(&meta.oid) else {
            let what = format!("large object {} is in the snapshot, but pg_dump did not write it", meta.oid);
            return Err(Error::new(Kind::Archive, what));
        };
        all.push(LargeObject { oid: meta.oid, owner: meta.owner, acl: meta.acl, size, sha256 });
    }
    match contents.keys().next() {
        Some(oid) => {
            Err(Error::new(Kind::Archive, format!("pg_dump wrote large object {oid}, which is not in the snapshot")))
        }
        None => Ok(all),
    }
}
