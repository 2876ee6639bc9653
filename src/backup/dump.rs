//! Dump: pg_dump's part, the streams of rows, what stands beside the archive, and the restore that follows them, all at the same time.
//! When it is done every file is stored, and nothing is committed.

use super::{
    beside,
    ground::Ground,
    plan::{Planned, Seen},
    traces::Traces,
};
use crate::{
    archive::{
        TABLE_FILE,
        compression::Compression,
        database::Database,
        pack::{self, PackWriter},
        schema,
        toc::{Entry, TableData, Toc},
    },
    dump::{
        catalog::{Relation, Size},
        copy,
        locks::Locks,
        pg_dump::{self, Dumped},
        plan::Plan,
        rate::Rate,
        sink::{InFlight, Sink},
        worker::{self, Batch, Done, Engine, Fresh, TableJob, Task},
    },
    error::{self, Error, Kind, Result},
    postgres::connect::Session,
    progress::Phase,
    vault::{
        Address, Filter, Folder,
        manifest::{File, LargeObject, Role, Source, Table, TakenBy},
    },
    verify::{
        Begin, Half, Prover,
        restore::{Incoming, Stored},
    },
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

/// Bytes that may be on their way to the store at a time.
const IN_FLIGHT: usize = 64 << 20;

/// Frames that wait for a connection that restores them. One is enough: whoever is free takes it at once, the others are read back later.
const FRESH: usize = 1;

/// A dump whose files are all stored; nothing is committed yet.
pub(super) struct Taken {
    pub taken_at: OffsetDateTime,
    pub source: Source,
    pub address: Address,
    pub folder: Folder,
    pub compression: Compression,
    pub plan: Plan,
    pub seen: Seen,
    pub own: OwnPart,
    pub tables: Vec<Table>,
    /// Files of the tables that we took over.
    pub files: Vec<File>,
    pub beside: Vec<beside::Taken>,
    /// The restore that has followed the dump, where one is to be proven.
    pub restoring: Option<AbortOnDropHandle<Result<Half>>>,
}

/// What pg_dump wrote, read and stored.
pub(super) struct OwnPart {
    pub dumped: Arc<Dumped>,
    pub files: Vec<File>,
    /// `database.sql`.
    pub database: Option<File>,
    /// Roles that the archive names.
    pub roles: Vec<Role>,
    pub large_objects: Vec<LargeObject>,
}

/// Takes everything that was planned.
pub(super) async fn dump(ground: &Ground<'_>, session: Session, planned: Planned) -> Result<Taken> {
    let phase = ground.progress.begin(Phase::Dump);
    ground.traces.stores_into(&planned.address.folder);
    let streams = Streams::start(ground, session, &planned);
    let (locks, locks_cure) = (planned.locks, planned.locks_cure.clone());
    let taken = take(ground, planned, streams).await;
    phase.end();
    taken.map_err(|e| match (e.kind(), locks) {
        (Kind::LocksFull, Locks::Kept) => {
            ground.locks_are_scarce.store(true, Ordering::Relaxed);
            Error::new(Kind::Locked, "the server's table of locks is full: the tables are locked once only").because(e)
        }
        (Kind::LocksFull, Locks::Passing) => e.hint(locks_cure),
        _ => e,
    })
}

async fn take(ground: &Ground<'_>, planned: Planned, streams: Streams) -> Result<Taken> {
    let Planned {
        taken_at, source, address, folder, compression, relations, sizes, mut plan, pg_dump, mut seen, ..
    } = planned;
    let Streams { reading, tasks, mut done, fresh, pg_dump_ended } = streams;
    let Following { begin, up, arrived, restoring } = Following::start(ground, &folder, fresh);
    let (let_others, others) = oneshot::channel();

    let reading = async { reading.await.map_err(|e| Error::new(Kind::Database, "reading stopped").because(e))? };
    let own = async {
        let dumped = pg_dump.await.map_err(|e| Error::new(Kind::Tool, "watching pg_dump stopped").because(e))??;
        // The readers may have ended.
        let _ = pg_dump_ended.0.send(pg_dump_ended.1);
        let _ = let_others.send(());
        dumped.check_against(&plan)?;
        for job in fingerprint_only(&dumped, &mut plan, &relations) {
            let _ = tasks.send(vec![Task { job, pages: None, planned: 0 }]);
        }
        // Now the readers end when they have read all.
        drop(tasks);
        own_part(ground, &folder, dumped, &source, &mut plan, &sizes, &mut seen, begin).await
    };
    let collecting = async {
        let (mut tables, mut files): (Vec<Table>, Vec<File>) = (Vec::new(), Vec::new());
        while let Some(Done { table, file }) = done.recv().await {
            if let Some(file) = &file {
                // The restore may have failed already; its error is told when its turn comes.
                let _ = arrived.send((Arc::new(table.clone()), Arc::new(file.clone())));
            }
            files.extend(file);
            tables.push(table);
        }
        drop(arrived);
        Ok::<_, Error>((tables, files))
    };
    let starting = async {
        ground.traces.server_is_up(&*ground.progress).await?;
        // Whoever restores may have failed already.
        let _ = up.send(());
        Ok::<_, Error>(())
    };
    // Far from the server, what stands beside the archive takes as long as a small dump. Where connections are few, pg_dump's comes first.
    let beside = async {
        if ground.jobs < ground.config.engine.jobs {
            let _ = others.await;
        }
        beside::take(ground, &folder).await
    };
    let ((), own, (tables, files), beside, ()) = tokio::try_join!(reading, own, collecting, beside, starting)?;
    let beside = beside::retry(ground, &folder, beside).await?;
    Ok(Taken { taken_at, source, address, folder, compression, plan, seen, own, tables, files, beside, restoring })
}

/// Stores what pg_dump wrote, lets the restore begin, and reads what the large objects hold.
#[allow(clippy::too_many_arguments, reason = "all that is known of the dump")]
pub(super) async fn own_part(
    ground: &Ground<'_>,
    folder: &Folder,
    dumped: Dumped,
    source: &Source,
    plan: &mut Plan,
    sizes: &HashMap<u32, Size>,
    seen: &mut Seen,
    begin: oneshot::Sender<Begin>,
) -> Result<OwnPart> {
    plan.left_out.extend(left_out_by_pg_dump(&dumped, plan, sizes, &ground.config.filter));
    plan.left_out.extend(left_out_extensions(ground));
    let compression = ground.config.compression.for_major(source.major);
    let files = store_own_files(folder, &dumped, plan, compression).await?;
    let database = match Database::of(&dumped.toc) {
        Some(database) => Some(folder.put("database.sql", database.script(&source.encoding).into()).await?),
        None => None,
    };
    let roles = roles_named(&dumped.toc, &seen.roles);
    let _ = begin.send(Begin {
        source: source.clone(),
        roles: roles.clone(),
        single_tables: !ground.config.filter.tables.is_empty(),
        extensions: ground.granted(),
        own: files.clone(),
    });
    let dumped = Arc::new(dumped);
    let contents = large_object_contents(dumped.clone()).await?;
    let large_objects = pg_dump::large_objects(std::mem::take(&mut seen.large_objects), contents)?;
    Ok(OwnPart { dumped, files, database, roles, large_objects })
}

/// The connections that read the tables which we take over.
struct Streams {
    reading: AbortOnDropHandle<Result<()>>,
    /// Takes more pieces; the connections end once it is dropped and they have read all.
    tasks: mpsc::UnboundedSender<Batch>,
    /// Gives each table that is complete.
    done: mpsc::UnboundedReceiver<Done>,
    /// Gives frames on their way to the store.
    fresh: mpsc::Receiver<Fresh>,
    /// Tells the session of the snapshot that pg_dump has let its locks go, with the statements that take them.
    pg_dump_ended: (oneshot::Sender<Vec<String>>, Vec<String>),
}

impl Streams {
    /// Makes a sink for each table, queues its pieces, and sends the connections off.
    fn start(ground: &Ground<'_>, session: Session, planned: &Planned) -> Streams {
        let Planned { source, folder, compression, plan, .. } = planned;
        let compression = *compression;
        let (done, tables_done) = mpsc::unbounded_channel::<Done>();
        let (tasks, queue) = mpsc::unbounded_channel::<Batch>();
        let (fresh, fresh_queue) = mpsc::channel(FRESH);
        let (ended, pg_dump_ended) = oneshot::channel();
        let in_flight = InFlight::new(IN_FLIGHT);
        let mut pieces = Vec::new();
        for table in &plan.streams {
            let path = format!("archive/{TABLE_FILE}{}.dat{}", table.relation.oid, compression.suffix());
            let (bytes, progress) = (table.size.bytes, ground.progress.clone());
            let sink = Arc::new(Sink::new(folder, path, compression, bytes, in_flight.clone(), progress));
            ground.traces.makes(sink.clone());
            let job = TableJob::new(table_of(&table.relation, TakenBy::Streams, false), Some(sink), table.chunks.len());
            let planned = bytes / table.chunks.len().max(1) as u64;
            let task = |pages: &Option<copy::Pages>| Task { job: job.clone(), pages: *pages, planned };
            pieces.extend(table.chunks.iter().map(task));
        }
        for batch in copy::batches(pieces, |task| task.planned) {
            // The queue's other end is held by the engine below.
            let _ = tasks.send(batch);
        }
        let engine = Arc::new(Engine {
            target: ground.target.clone(),
            major: source.major,
            encoding: source.encoding.clone(),
            snapshot: source.snapshot.clone(),
            jobs: ground.jobs,
            locks: planned.locks,
            compression,
            rate: ground.config.max_rate.map(|rate| Arc::new(Rate::new(rate))),
            progress: ground.progress.clone(),
            tracker: ground.traces.tracker(),
            done,
            fresh: ground.proves.then_some(fresh),
        });
        let reading = ground.traces.tracker().spawn(worker::run(engine, session, queue, pg_dump_ended));
        Streams {
            reading: AbortOnDropHandle::new(reading),
            tasks,
            done: tables_done,
            fresh: fresh_queue,
            pg_dump_ended: (ended, planned.lock_statements.clone()),
        }
    }
}

/// The restore that follows the dump, and what it waits for. Where none is wanted, nobody listens.
pub(super) struct Following {
    /// pg_dump is through.
    pub begin: oneshot::Sender<Begin>,
    /// The throwaway server is up.
    pub up: oneshot::Sender<()>,
    /// A table is stored.
    pub arrived: mpsc::UnboundedSender<Stored>,
    pub restoring: Option<AbortOnDropHandle<Result<Half>>>,
}

impl Following {
    pub fn start(ground: &Ground<'_>, folder: &Folder, fresh: mpsc::Receiver<Fresh>) -> Following {
        let (begin, begun) = oneshot::channel();
        let (up, is_up) = oneshot::channel();
        let (arrived, tables) = mpsc::unbounded_channel();
        let restoring = ground.proves.then(|| {
            let incoming = Incoming { tables, fresh: Some(fresh) };
            let following = follow(prover(ground, folder), ground.traces.clone(), begun, is_up, incoming);
            AbortOnDropHandle::new(ground.traces.tracker().spawn(following))
        });
        Following { begin, up, arrived, restoring }
    }
}

/// Begins the restore as soon as pg_dump is through, and goes on as tables arrive. Takes the server out of the traces while it works with
/// it; a cancelled run drops it here, which removes it.
async fn follow(
    prover: Prover,
    traces: Traces,
    begin: oneshot::Receiver<Begin>,
    is_up: oneshot::Receiver<()>,
    incoming: Incoming,
) -> Result<Half> {
    let begin = begin.await.map_err(|_| Error::new(Kind::Interrupted, "the dump failed"))?;
    is_up.await.map_err(|_| Error::new(Kind::Interrupted, "the throwaway server did not start"))?;
    let mut held = traces.hold_server();
    prover.restore(held.server()?, begin, incoming).await
}

/// What proves the backup in this folder.
pub(super) fn prover(ground: &Ground<'_>, folder: &Folder) -> Prover {
    Prover {
        folder: folder.clone(),
        tools: ground.tools.clone(),
        level: ground.config.verify,
        scratch: ground.scratch.clone(),
        // Of its own server; the source has no say in it.
        jobs: ground.config.engine.jobs,
        progress: ground.progress.clone(),
    }
}

pub(super) fn table_of(relation: &Relation, taken_by: TakenBy, with_children: bool) -> Table {
    Table {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        oid: relation.oid,
        columns: relation.columns.clone(),
        condition: relation.condition.clone(),
        with_children,
        taken_by,
        rows: 0,
        bytes: 0,
        fingerprint: String::new(),
        file: None,
        chunks: Vec::new(),
        terminator: None,
    }
}

/// Tables whose rows pg_dump wrote: read once more in the same snapshot for their fingerprint. Leaves that pg_dump loads through their
/// root may change places in a restore, so their root is read, if all that lies below it was taken; else it is said to be unproven.
fn fingerprint_only(dumped: &Dumped, plan: &mut Plan, relations: &[Relation]) -> Vec<Arc<TableJob>> {
    let by_oid: HashMap<u32, &Relation> = relations.iter().map(|r| (r.oid, r)).collect();
    let written = dumped.rows_written();
    let mut wanted: BTreeSet<(u32, bool)> = BTreeSet::new();
    let mut unproven = BTreeSet::new();
    for relation in plan.pg_dump.iter().filter(|r| written.contains(&r.oid) && r.utf8) {
        let Some(root) = relation.root.filter(|_| relation.load_via_root) else {
            wanted.insert((relation.oid, false));
            continue;
        };
        let leaves = relations.iter().filter(|r| r.plain && r.root == Some(root));
        let all_taken = leaves.into_iter().all(|r| plan.expected.contains(&r.oid));
        match by_oid.get(&root).filter(|r| all_taken && !r.has_foreign) {
            Some(_) => {
                wanted.insert((root, true));
            }
            None => {
                unproven.insert(format!(
                    "rows of {}: pg_dump loads them through a root that was not taken whole",
                    relation.label()
                ));
            }
        }
    }
    plan.unproven.extend(unproven);
    let found = wanted.into_iter().filter_map(|(oid, children)| Some((by_oid.get(&oid)?, children)));
    found.map(|(r, children)| TableJob::new(table_of(r, TakenBy::PgDump, children), None, 1)).collect()
}

/// What pg_dump left out on its own account, in words.
fn left_out_by_pg_dump(dumped: &Dumped, plan: &Plan, sizes: &HashMap<u32, Size>, filter: &Filter) -> Vec<String> {
    let written = dumped.rows_written();
    let has_rows = |r: &&Relation| sizes.get(&r.oid).is_some_and(|s| s.pages > 0);
    let members = plan.pg_dump.iter().filter(|r| r.extension_member && !written.contains(&r.oid)).filter(has_rows);
    let mut lines: Vec<String> =
        members.map(|r| format!("rows of {}: pg_dump leaves them to CREATE EXTENSION", r.label())).collect();
    if !filter.schema_only {
        let entries = &dumped.toc.entries;
        let set: BTreeSet<_> =
            entries.iter().filter(|e| e.kind() == "SEQUENCE SET").map(|e| (&e.namespace, &e.tag)).collect();
        let without = |e: &&Entry| e.kind() == "SEQUENCE" && !set.contains(&(&e.namespace, &e.tag));
        lines.extend(
            entries.iter().filter(without).map(|e| format!("value of sequence {}: left out by the filter", e.name())),
        );
    }
    lines
}

/// Stores the spliced `toc.dat` and what pg_dump wrote besides.
async fn store_own_files(folder: &Folder, dumped: &Dumped, plan: &Plan, compression: Compression) -> Result<Vec<File>> {
    let mut toc: Toc = dumped.toc.clone();
    let data: Vec<TableData> = plan
        .streams
        .iter()
        .map(|t| TableData {
            oid: t.relation.oid,
            copy_stmt: t.relation.copy_from(),
            filename: format!("{TABLE_FILE}{}.dat", t.relation.oid),
        })
        .collect();
    toc.add_table_data(&data)?;
    if !data.is_empty() {
        toc.announce(compression);
    }
    let mut files = vec![folder.put("archive/toc.dat", toc.to_bytes().into()).await?];
    let sizes: Vec<(&String, u64)> =
        dumped.files.iter().map(|name| Ok((name, dumped.size(name)?))).collect::<Result<_>>()?;
    let (small, large): (Vec<_>, Vec<_>) = sizes.into_iter().partition(|(_, size)| *size <= pack::SMALL);
    let (small, alone) = if small.len() < pack::FROM { (Vec::new(), small) } else { (small, Vec::new()) };
    for (name, _) in large.into_iter().chain(alone) {
        files.push(folder.put_file(&format!("archive/{name}"), &dumped.folder.join(name)).await?);
    }
    let names = small.into_iter().map(|(name, _)| name.clone()).collect();
    files.extend(store_packs(folder, dumped.folder.clone(), names, compression).await?);
    Ok(files)
}

/// Stores many small files in packs: one is made while the one before is sent.
async fn store_packs(
    folder: &Folder,
    from: PathBuf,
    names: Vec<String>,
    compression: Compression,
) -> Result<Vec<File>> {
    let (made, mut packs) = mpsc::channel::<(Vec<u8>, u64)>(1);
    let making = tokio::task::spawn_blocking(move || {
        let mut pack = PackWriter::new(compression);
        for name in names {
            let path = from.join(&name);
            pack.add(&name, &std::fs::read(&path).map_err(error::io(format!("cannot read {}", path.display())))?)?;
            if pack.is_full() {
                let full = std::mem::replace(&mut pack, PackWriter::new(compression)).finish()?;
                if full.is_some_and(|full| made.blocking_send(full).is_err()) {
                    // Whoever stores them has failed and says so.
                    return Ok(());
                }
            }
        }
        if let Some(last) = pack.finish()? {
            let _ = made.blocking_send(last);
        }
        Ok::<_, Error>(())
    });
    let mut files = Vec::new();
    while let Some((bytes, members)) = packs.recv().await {
        let path = format!("archive/{}", pack::name(files.len() as u32 + 1, compression));
        files.push(File { members: Some(members), ..folder.put(&path, bytes.into()).await? });
    }
    making.await.map_err(|e| Error::new(Kind::Io, "packing pg_dump's files stopped").because(e))??;
    Ok(files)
}

/// Roles that the archive names.
fn roles_named(toc: &Toc, all: &[Role]) -> Vec<Role> {
    let names: Vec<String> = all.iter().map(|r| r.name.clone()).collect();
    let named: BTreeSet<String> = schema::role_names(toc, &names).into_iter().collect();
    all.iter().filter(|r| named.contains(&r.name)).cloned().collect()
}

/// Size and SHA-256 of each large object's content, by OID, from pg_dump's files.
async fn large_object_contents(dumped: Arc<Dumped>) -> Result<BTreeMap<u32, (u64, String)>> {
    let reading = tokio::task::spawn_blocking(move || dumped.large_object_contents()).await;
    reading.map_err(|e| Error::new(Kind::Io, "reading pg_dump's files stopped").because(e))?
}

/// Extensions that pg_dump left out.
fn left_out_extensions(ground: &Ground<'_>) -> Option<String> {
    let granted = ground.granted();
    let names = granted.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", ");
    (!granted.is_empty()).then(|| {
        format!(
            "extensions ({names}): pg_dump takes none when schemas or tables are named; create them before a restore"
        )
    })
}
