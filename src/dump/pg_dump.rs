//! Running pg_dump for everything but the rows that we take over, and reading what it left.

use super::{
    catalog::RawName,
    locks::{Locks, overtaken},
    plan::Plan,
};
use crate::{
    archive::{
        custom::{self, Chunks},
        toc::{Entry, Toc},
    },
    error::{Error, Kind, Result},
    postgres::{
        conninfo::Target,
        tools::{Enough, Run, Tools},
    },
    progress::{Event, Progress},
    vault::{Filter, manifest::Sequence},
};
use bytes::Bytes;
use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// How long pg_dump waits for a lock. Our own ACCESS SHARE locks stand, so it can only queue behind an ALTER that waits for us: a
/// deadlock that no one would break, so waiting is pointless and we start over instead.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// As ours are.
const KEEPALIVES: &str = "keepalives=1 keepalives_idle=30 keepalives_interval=10 keepalives_count=6";

/// How long it waits where we hold none.
const LOCK_WAIT_ALONE: Duration = Duration::from_secs(60);

/// What pg_dump says of something that was dropped between its snapshot and its lock.
const GONE: [&str; 3] = ["does not exist", "could not open relation", "cache lookup failed"];

/// A pg_dump at work.
pub struct Running {
    /// What it writes, in its order: first the table of contents.
    pub parts: mpsc::Receiver<Part>,
    /// It has ended, and all of it was read.
    pub ended: AbortOnDropHandle<Result<()>>,
}

/// A piece of what pg_dump writes.
#[derive(Debug)]
pub enum Part {
    /// What there will be.
    Toc(Box<Toc>),
    /// The data of the entry with this id begins.
    Entry(i32),
    /// A large object begins.
    Object(u32),
    /// Bytes of it.
    Bytes(Bytes),
    /// It has ended.
    Ends,
}

/// Pieces that may wait for whoever stores them, and bytes of one at most.
const PARTS: usize = 16;
const PART_BYTES: usize = 256 << 10;

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
    if filter.no_subscriptions {
        args.push("--no-subscriptions".into());
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
    /// How far it goes.
    pub to: To,
}

/// How far pg_dump goes; then it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// To the end of its table of contents.
    Toc,
    /// To the large objects.
    LargeObjects,
    /// To its end.
    End,
}

/// Starts pg_dump in the exported snapshot. At once: until it has its locks, a migration may come between ours and its own.
///
/// It writes the custom format into a pipe: there the table of contents comes first, nothing is kept on a disk, and it can be ended where
/// the large objects begin, which it would read one by one.
pub fn start(
    tools: &Tools,
    target: &Target,
    filter: &Filter,
    plan: &Plan,
    How { snapshot, locks, to }: How<'_>,
    progress: Arc<dyn Progress>,
) -> Running {
    // It counts for one LOCK statement over many tables, which takes its time without any waiting.
    let wait = if locks == Locks::Kept { LOCK_WAIT } else { LOCK_WAIT_ALONE };
    let wait = wait + Duration::from_millis(2 * (plan.streams.len() + plan.pg_dump.len()) as u64);
    let mut run = Run::new(&tools.pg_dump)
        .args(["--format=custom", "--compress=0"])
        .arg(format!("--lock-wait-timeout={}", wait.as_millis()))
        .args(snapshot.map(|snapshot| format!("--snapshot={snapshot}")))
        // The database's name comes by the environment; keepalives have no variable of their own.
        .args(["--dbname".to_owned(), format!("{KEEPALIVES} tcp_user_timeout={}", target.stall.as_millis())])
        .args(filter_args(filter))
        .target(target)
        .on_line(Arc::new(move |line: &str| progress.event(Event::Detail(line))));
    for pattern in &plan.exclusions {
        run = run.arg(flag("--exclude-table-data", pattern));
    }
    let (sender, parts) = mpsc::channel(PARTS);
    Running { parts, ended: AbortOnDropHandle::new(tokio::spawn(finish(run, locks, to, sender))) }
}

async fn finish(run: Run, locks: Locks, to: To, parts: mpsc::Sender<Part>) -> Result<()> {
    let read = async |out: OwnedFd| {
        let reading = tokio::task::spawn_blocking(move || {
            let mut from = BufReader::with_capacity(PART_BYTES, File::from(out));
            let read = read(&mut from, to, &parts);
            let enough = match read {
                Ok(enough) => enough,
                // It has ended, or is about to; what it says of that counts for more.
                Err(_) if from.fill_buf().is_ok_and(<[u8]>::is_empty) => Enough::No,
                Err(_) => Enough::Yes,
            };
            // The pipe stays open until pg_dump was told to end: a closed one would end it without a word to the server.
            (read.map(drop), enough, Some(from))
        });
        let stopped = |e| (Err(Error::new(Kind::Tool, "reading from pg_dump stopped").because(e)), Enough::Yes, None);
        let (read, enough, pipe) = reading.await.unwrap_or_else(stopped);
        ((read, enough, pipe), enough)
    };
    let (output, (read, enough, _)) = run.piped(read).await?;
    match enough {
        Enough::No if !output.status.success() => Err(explained(output.error("pg_dump"), locks)),
        _ => read,
    }
}

/// Hands on what pg_dump writes, until it ends or nothing but unwanted large objects is left.
fn read(from: &mut impl Read, to: To, parts: &mpsc::Sender<Part>) -> Result<Enough> {
    let (toc, _) = Toc::parse_custom(&mut *from)?;
    let with_data = |e: &&Entry| e.had_dumper;
    let (objects, others): (Vec<&Entry>, Vec<&Entry>) =
        toc.entries.iter().filter(with_data).partition(|e| e.kind() == "BLOBS");
    let mut objects = objects.len();
    let mut due: BTreeSet<i32> = others.iter().map(|e| e.dump_id).collect();
    // The receiver is gone when the run has failed elsewhere.
    let send = |part| parts.blocking_send(part).map_err(|_| Error::new(Kind::Interrupted, "the run was broken off"));
    send(Part::Toc(Box::new(toc.into_directory())))?;
    if to == To::Toc && !due.is_empty() {
        return Ok(Enough::Yes);
    }
    let large_objects = to == To::End;
    while !due.is_empty() || (large_objects && objects > 0) {
        let (block, id) = (custom::byte(from).map_err(broken)?, custom::int(from).map_err(broken)?);
        match (block, i32::try_from(id)) {
            (custom::DATA, Ok(id)) if due.remove(&id) => hand_on(from, Some(Part::Entry(id)), &send)?,
            (custom::LARGE_OBJECTS, _) if objects > 0 => {
                objects -= 1;
                loop {
                    let oid = custom::int(from).map_err(broken)?;
                    match u32::try_from(oid) {
                        Ok(0) => break,
                        Ok(oid) => hand_on(from, large_objects.then_some(Part::Object(oid)), &send)?,
                        Err(_) => return Err(unannounced(format!("large object {oid}"))),
                    }
                }
            }
            _ => return Err(unannounced(format!("a block of type {block} for entry {id}"))),
        }
    }
    if objects > 0 {
        return Ok(Enough::Yes);
    }
    // It must not be ended by a closed pipe.
    io::copy(from, &mut io::sink()).map_err(broken)?;
    Ok(Enough::No)
}

fn unannounced(what: String) -> Error {
    Error::new(Kind::Archive, format!("pg_dump writes {what}, which it did not announce"))
}

/// Hands on the chunks that begin here, or passes over them.
fn hand_on(from: &mut impl Read, begins: Option<Part>, send: &impl Fn(Part) -> Result<()>) -> Result<()> {
    let mut chunks = Chunks::of(from);
    let Some(begins) = begins else { return io::copy(&mut chunks, &mut io::sink()).map(drop).map_err(broken) };
    send(begins)?;
    loop {
        let mut bytes = Vec::new();
        match chunks.by_ref().take(PART_BYTES as u64).read_to_end(&mut bytes).map_err(broken)? {
            0 => return send(Part::Ends),
            _ => send(Part::Bytes(bytes.into()))?,
        }
    }
}

fn broken(e: io::Error) -> Error {
    Error::new(Kind::Archive, "pg_dump does not write what it announced").because(e)
}

/// What pg_dump's failure means.
fn explained(e: Error, locks: Locks) -> Error {
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
        e.hint(
            "pg_dump reached another server than we did: name one host, not a balanced address or a pool of replicas",
        )
    } else {
        e
    }
}

/// OIDs of the tables whose rows pg_dump wrote.
pub fn rows_written(toc: &Toc) -> BTreeSet<u32> {
    toc.entries.iter().filter(|e| e.kind() == "TABLE DATA").filter_map(|e| e.oid()).collect()
}

/// The table of contents as it were had pg_dump left out the rows of these tables.
pub fn without_rows_of(mut toc: Toc, plan: &Plan) -> Toc {
    let ours: BTreeSet<u32> = plan.streams.iter().map(|t| t.relation.oid).collect();
    toc.entries.retain(|e| e.kind() != "TABLE DATA" || e.oid().is_none_or(|oid| !ours.contains(&oid)));
    toc
}

/// The table of contents without the user mappings, which pg_dump has no option to leave out, and their names. Nothing else in an archive
/// depends on one.
pub fn without_user_mappings(mut toc: Toc) -> (Toc, Vec<String>) {
    let mut names = Vec::new();
    toc.entries.retain(|e| {
        let mapping = e.kind() == "USER MAPPING";
        if mapping {
            names.push(e.name().trim_start_matches("USER MAPPING ").replacen(" SERVER ", " on ", 1));
        }
        !mapping
    });
    (toc, names)
}

/// Makes sure that together we took exactly what the archive names: no table between two stools.
pub fn check_against(toc: &Toc, plan: &Plan) -> Result<()> {
    let written = rows_written(toc);
    let streamed: BTreeSet<u32> = plan.streams.iter().map(|t| t.relation.oid).collect();
    let hole = |what: &str, oid: u32| {
        let name = plan.streams.iter().map(|t| &t.relation).chain(&plan.pg_dump).find(|r| r.oid == oid);
        let name = name.map_or_else(|| format!("with OID {oid}"), |r| r.label());
        Err(Error::new(Kind::Archive, format!("table {name} {what}"))
            .hint("run it again; if it happens again, report it with the table's definition"))
    };
    for table in toc.tables() {
        let ours = streamed.contains(&table.oid);
        if ours && written.contains(&table.oid) {
            return hole("was written by pg_dump although we took it over", table.oid);
        }
    }
    let named: BTreeSet<u32> = toc.tables().iter().map(|t| t.oid).collect();
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
pub fn sequences(toc: &Toc, names: &HashMap<RawName, (String, String)>) -> Result<(Vec<Sequence>, Vec<String>)> {
    let (mut sequences, mut unproven) = (Vec::new(), Vec::new());
    let entries = toc.entries.iter().filter(|e| e.kind() == "SEQUENCE SET");
    for (entry, mut sequence) in entries.zip(toc.sequences()?) {
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
