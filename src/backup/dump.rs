//! Dump: pg_dump's part, the streams of rows, what stands beside the archive, and the restore that follows them, all at the same time.
//! When it is done every file is stored, and nothing is committed.

use super::{
    beside,
    ground::Ground,
    own::{self, Own, OwnPart},
    plan::{Planned, Seen},
    traces::Traces,
};
use crate::{
    archive::{TABLE_FILE, compression::Compression, pack, toc::Toc},
    dump::{
        catalog::Relation,
        copy, large_objects,
        locks::Locks,
        packer::{Numbers, Packer},
        pg_dump,
        plan::Plan,
        sink::{IN_FLIGHT, InFlight, Sink},
        worker::{self, Done, Engine, Fresh, TableJob, Task, Work},
    },
    error::{Error, Kind, Result},
    postgres::connect::Session,
    progress::Phase,
    vault::{
        Address, Folder,
        manifest::{File, LargeObjectChunk, Source, Table, TakenBy},
    },
    verify::{
        Begin, Half, Prover,
        restore::{Incoming, Stored, StoredObjects},
    },
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

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
    /// In order of their OIDs.
    pub large_objects: Vec<LargeObjectChunk>,
    /// Files of the tables and large objects that we took over.
    pub files: Vec<File>,
    pub beside: Vec<beside::Taken>,
    /// The restore that has followed the dump, where one is to be proven.
    pub restoring: Option<AbortOnDropHandle<Result<Half>>>,
}

/// How long the reason of what pg_dump complains about is waited for.
const OTHERS_FIRST: Duration = Duration::from_millis(500);

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
        taken_at, source, address, folder, compression, relations, sizes, mut plan, mut pg_dump, seen, ..
    } = planned;
    let Streams { reading, tasks, mut done, fresh, numbers, pg_dump_ended } = streams;
    let Following { begin, up, arrived, objects, restoring } = Following::start(ground, &folder, fresh);
    let (let_others, others) = oneshot::channel();

    let reading = async { reading.await.map_err(|e| Error::new(Kind::Database, "reading stopped").because(e))? };
    let own = async {
        let toc = own::toc(&mut pg_dump).await?;
        let toc = if plan.toc_only { pg_dump::without_rows_of(toc, &plan) } else { toc };
        pg_dump::check_against(&toc, &plan)?;
        let jobs = fingerprint_only(&toc, &mut plan, &relations);
        let bytes = |job: &Arc<TableJob>| sizes.get(&job.table().oid).map_or(0, |size| size.bytes);
        for batch in copy::batches(jobs, bytes) {
            let task = |job| Task { job, pages: None, planned: 0 };
            let _ = tasks.send(Work::Rows(batch.into_iter().map(task).collect()));
        }
        // Now the readers end when they have read all.
        drop(tasks);
        let mut own = Own::new(ground, &folder, &source, &sizes, toc, numbers);
        own.data(&mut pg_dump).await?;
        // The readers may have ended.
        let _ = pg_dump_ended.0.send(pg_dump_ended.1);
        let _ = let_others.send(());
        own.end(&mut plan, &seen, begin).await
    };
    let own = async {
        let own = own.await;
        if own.as_ref().is_err_and(|e| e.kind() == Kind::Tool) {
            // Where the readers broke off, pg_dump says no more than that the snapshot is gone: their reason comes first.
            tokio::time::sleep(OTHERS_FIRST).await;
        }
        own
    };
    let collecting = async {
        let mut collected = Collected::default();
        while let Some(done) = done.recv().await {
            collected.take(done, &arrived, &objects);
        }
        drop((arrived, objects));
        Ok::<_, Error>(collected)
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
    let ((), own, collected, beside, ()) = tokio::try_join!(reading, own, collecting, beside, starting)?;
    let Collected { tables, files, mut large_objects } = collected;
    large_objects.sort_by_key(|chunk| chunk.first);
    own::all_objects(&own.toc, &large_objects)?;
    let beside = beside::retry(ground, &folder, beside).await?;
    Ok(Taken {
        taken_at,
        source,
        address,
        folder,
        compression,
        plan,
        seen,
        own,
        tables,
        large_objects,
        files,
        beside,
        restoring,
    })
}

/// What the connections have read and stored.
#[derive(Default)]
struct Collected {
    tables: Vec<Table>,
    files: Vec<File>,
    large_objects: Vec<LargeObjectChunk>,
}

impl Collected {
    /// Takes what is done, and hands it on to the restore. That may have failed already; its error is told when its turn comes.
    fn take(
        &mut self,
        done: Done,
        arrived: &mpsc::UnboundedSender<Stored>,
        objects: &mpsc::UnboundedSender<StoredObjects>,
    ) {
        match done {
            Done::Pack(file) => self.files.push(File::clone(&file)),
            Done::Table(table, file) => {
                if let Some(file) = file {
                    let _ = arrived.send((Arc::new(table.clone()), file.clone()));
                    self.files.extend(table.packed.is_none().then(|| File::clone(&file)));
                }
                self.tables.push(table);
            }
            Done::LargeObjects(chunk, file) => {
                self.files.push(File::clone(&file));
                let _ = objects.send((Arc::new(chunk.clone()), file));
                self.large_objects.push(chunk);
            }
        }
    }
}

/// The connections that read the tables which we take over.
struct Streams {
    reading: AbortOnDropHandle<Result<()>>,
    /// Takes more pieces; the connections end once it is dropped and they have read all.
    tasks: mpsc::UnboundedSender<Work>,
    /// Gives each table that is complete.
    done: mpsc::UnboundedReceiver<Done>,
    /// Gives frames on their way to the store.
    fresh: mpsc::Receiver<Fresh>,
    /// Of the packs.
    numbers: Numbers,
    /// Tells the session of the snapshot that pg_dump has let its locks go, with the statements that take them.
    pg_dump_ended: (oneshot::Sender<Vec<String>>, Vec<String>),
}

impl Streams {
    /// Makes a sink for each table, queues its pieces, and sends the connections off.
    fn start(ground: &Ground<'_>, session: Session, planned: &Planned) -> Streams {
        let Planned { source, folder, compression, plan, seen, .. } = planned;
        let compression = *compression;
        let (done, tables_done) = mpsc::unbounded_channel::<Done>();
        let (tasks, queue) = mpsc::unbounded_channel::<Work>();
        let (fresh, fresh_queue) = mpsc::channel(FRESH);
        let (ended, pg_dump_ended) = oneshot::channel();
        let in_flight = InFlight::new(IN_FLIGHT);
        let mut pieces = Vec::new();
        for table in &plan.streams {
            let path = format!("archive/{TABLE_FILE}{}.dat{}", table.relation.oid, compression.suffix());
            let (bytes, progress) = (table.size.bytes, ground.progress.clone());
            let sink = Arc::new(Sink::new(folder, path, bytes, in_flight.clone(), progress));
            ground.traces.makes(sink.clone());
            let job = TableJob::new(table_of(&table.relation, TakenBy::Streams, false), Some(sink), table.chunks.len());
            let planned = bytes / table.chunks.len().max(1) as u64;
            let task = |pages: &Option<copy::Pages>| Task { job: job.clone(), pages: *pages, planned };
            pieces.extend(table.chunks.iter().map(task));
        }
        for batch in copy::batches(pieces, |task| task.planned) {
            // The queue's other end is held by the engine below.
            let _ = tasks.send(Work::Rows(batch));
        }
        for (range, number) in seen.large_objects.iter().zip(1..) {
            let gzip = large_objects::compression(compression) != Compression::None;
            let path = format!("archive/{}", pack::name_for_large_objects(number, gzip));
            let sink = Arc::new(Sink::new(folder, path, 0, in_flight.clone(), ground.progress.clone()));
            ground.traces.makes(sink.clone());
            let _ = tasks.send(Work::LargeObjects(*range, sink));
        }
        let numbers = Numbers::default();
        let small = plan.streams.iter().filter(|t| t.size.bytes <= pack::SMALL).count();
        let pack = || Packer::new(folder, numbers.clone(), compression, ground.sent(), ground.progress.clone());
        let packer = (small >= pack::FROM).then(pack);
        let engine = Arc::new(Engine {
            target: ground.target.clone(),
            major: source.major,
            encoding: source.encoding.clone(),
            snapshot: source.snapshot.clone(),
            jobs: ground.jobs,
            locks: planned.locks,
            compression,
            checked: ground.sent(),
            rate: ground.rate.clone(),
            progress: ground.progress.clone(),
            tracker: ground.traces.tracker(),
            done,
            fresh: ground.proves.then_some(fresh),
            packer,
        });
        let reading = ground.traces.tracker().spawn(worker::run(engine, session, queue, pg_dump_ended));
        Streams {
            reading: AbortOnDropHandle::new(reading),
            tasks,
            done: tables_done,
            fresh: fresh_queue,
            numbers,
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
    /// Large objects are stored.
    pub objects: mpsc::UnboundedSender<StoredObjects>,
    pub restoring: Option<AbortOnDropHandle<Result<Half>>>,
}

impl Following {
    pub fn start(ground: &Ground<'_>, folder: &Folder, fresh: mpsc::Receiver<Fresh>) -> Following {
        let (begin, begun) = oneshot::channel();
        let (up, is_up) = oneshot::channel();
        let (arrived, tables) = mpsc::unbounded_channel();
        let (objects, stored_objects) = mpsc::unbounded_channel();
        let restoring = ground.proves.then(|| {
            let incoming = Incoming { tables, fresh: Some(fresh), objects: Some(stored_objects) };
            let following = follow(prover(ground, folder), ground.traces.clone(), begun, is_up, incoming);
            AbortOnDropHandle::new(ground.traces.tracker().spawn(following))
        });
        Following { begin, up, arrived, objects, restoring }
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
        packed: None,
    }
}

/// Tables whose rows pg_dump wrote: read once more in the same snapshot for their fingerprint. Leaves that pg_dump loads through their
/// root may change places in a restore, so their root is read, if all that lies below it was taken; else it is said to be unproven.
fn fingerprint_only(toc: &Toc, plan: &mut Plan, relations: &[Relation]) -> Vec<Arc<TableJob>> {
    let by_oid: HashMap<u32, &Relation> = relations.iter().map(|r| (r.oid, r)).collect();
    let written = pg_dump::rows_written(toc);
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
