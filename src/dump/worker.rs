//! Connections that read pieces of tables in the shared snapshot, hash each row, compress, and fill the tables' sinks.

use super::{
    copy::{self, Pages},
    large_objects::{self, Objects, PackOut, Range},
    locks::{self, Locks, overtaken},
    packer::{Full, Packer},
    rate::Rate,
    sink::{OpenFrame, Sink},
    snapshot,
};
use crate::{
    archive::{
        checked::not_the_same,
        compression::Compression,
        fingerprint::{Fingerprint, parse_sum},
        frame::{self, FrameWriter, MOST_FRAME_BYTES},
    },
    error::{Error, Kind, Result, joined},
    postgres::{
        connect::Session,
        conninfo::Target,
        wire::{Fault, Wire},
    },
    progress::{Event, Progress},
    vault::manifest::{Chunk, File, Frame, LargeObjectChunk, Table},
};
use bytes::Bytes;
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
};
use tokio_postgres::error::SqlState;
use tokio_util::task::TaskTracker;
use xxhash_rust::xxh3::Xxh3;

/// What was read is told of, and counted against the rate, after so many bytes of text.
const TOLD_BYTES: u64 = 128 << 10;

/// A frame is also closed at this much text, so that a very compressible one stays cheap to read back.
const FRAME_TEXT_BYTES: u64 = 64 << 20;

/// How long the session of the snapshot waits for locks while readers read.
const LOCK_SOON: &str = "2s";

/// How long the server's process of a pg_dump that has ended is given to let its locks go, and how often it is looked at.
const LETTING_GO: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How often the session that holds the snapshot says something, so that no firewall forgets it.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A table on its way into the archive.
pub struct TableJob {
    /// What the manifest will say; rows, chunks and file are filled in as they come.
    table: Table,
    /// The stored file; `None` when pg_dump writes the rows and we only need their fingerprint.
    sink: Option<Arc<Sink>>,
    chunks: Mutex<Vec<Chunk>>,
    remaining: AtomicUsize,
}

impl TableJob {
    /// A job of so many pieces.
    pub fn new(table: Table, sink: Option<Arc<Sink>>, pieces: usize) -> Arc<Self> {
        Arc::new(Self { table, sink, chunks: Mutex::default(), remaining: AtomicUsize::new(pieces) })
    }

    /// The table; its rows, chunks and file are not filled in yet.
    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// Pieces that one connection reads one after the other, with one statement for all of them: a large piece alone, or many small tables.
pub type Batch = Vec<Task>;

/// One piece of a table.
#[derive(Clone)]
pub struct Task {
    /// The table.
    pub job: Arc<TableJob>,
    /// Its pages; `None`: whole.
    pub pages: Option<Pages>,
    /// Bytes on the source's disk that it stands for.
    pub planned: u64,
}

/// What the connections take from the queue.
pub enum Work {
    /// Pieces of tables.
    Rows(Batch),
    /// A range of large objects, and its pack.
    LargeObjects(Range, Arc<Sink>),
}

/// Something that was read to its end and stored.
pub enum Done {
    /// A table's part of the manifest, and the stored file that holds its rows, if it is ours: its own, or a pack that it shares.
    Table(Table, Option<Arc<File>>),
    /// A pack of tables; they follow.
    Pack(Arc<File>),
    /// Large objects, and their pack.
    LargeObjects(LargeObjectChunk, Arc<File>),
}

/// What all connections share.
pub struct Engine {
    /// The source.
    pub target: Target,
    /// The source's major version.
    pub major: u32,
    /// The database's and so the archive's encoding.
    pub encoding: String,
    /// The exported snapshot.
    pub snapshot: String,
    /// Connections besides that which holds the snapshot; none: it reads everything itself.
    pub jobs: usize,
    /// How tables are kept from changing until they are read.
    pub locks: Locks,
    /// How frames are made.
    pub compression: Compression,
    /// What is made is decompressed and compared before it is sent, as nobody will read it back.
    pub checked: bool,
    /// How fast rows are read at most; `None`: as fast as they come.
    pub rate: Option<Arc<Rate>>,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Knows every task, so that whoever breaks a run off can wait until none of them works any more.
    pub tracker: TaskTracker,
    /// Takes each table when it is complete.
    pub done: mpsc::UnboundedSender<Done>,
    /// Takes frames on their way to the store, where it has room.
    pub fresh: Option<mpsc::Sender<Fresh>>,
    /// Takes the files of small tables, where there are many.
    pub packer: Option<Packer<Table>>,
}

impl Engine {
    async fn store_pack(&self, full: Full<Table>) -> Result<()> {
        let (file, tables) = full.store().await?;
        let file = Arc::new(file);
        // The receiver is gone only when the run has failed elsewhere, and that error counts.
        let _ = self.done.send(Done::Pack(file.clone()));
        for (table, packed) in tables {
            let _ = self.done.send(Done::Table(Table { packed: Some(packed), ..table }, Some(file.clone())));
        }
        Ok(())
    }
}

/// A frame that has just got its place in a file which cannot be read yet: that of an upload of many parts cannot before its end.
pub struct Fresh {
    /// The table.
    pub job: Arc<TableJob>,
    /// Where the frame stands in the table's file.
    pub frame: Frame,
    /// Its bytes.
    pub bytes: Bytes,
    /// How they were compressed.
    pub compression: Compression,
}

/// Files that a connection stores beside its reading.
const STORED_BESIDE: usize = 32;

type Queue = Arc<Mutex<mpsc::UnboundedReceiver<Work>>>;

/// Works off `queue` until its sender is dropped. `holder` is the session that exported the snapshot: it keeps the snapshot alive and
/// reads what the workers cannot lock. `locked_alone`: LOCK statements for all tables, which come when pg_dump has ended and its locks
/// with it.
pub async fn run(
    engine: Arc<Engine>,
    holder: Session,
    queue: mpsc::UnboundedReceiver<Work>,
    locked_alone: oneshot::Receiver<Vec<String>>,
) -> Result<()> {
    let queue: Queue = Arc::new(Mutex::new(queue));
    let (refused, refusals) = mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for _ in 0..engine.jobs {
        all.spawn(engine.tracker.track_future(work(engine.clone(), queue.clone(), refused.clone())));
    }
    drop(refused);
    let tracker = engine.tracker.clone();
    let own = (engine.jobs == 0).then_some(queue);
    all.spawn(tracker.track_future(hold(engine.clone(), holder, refusals, own, locked_alone)));
    while let Some(ended) = all.join_next().await {
        joined("reading tables", ended)?;
    }
    match engine.packer.as_ref().map(Packer::last).transpose()?.flatten() {
        Some(last) => tracker.track_future(engine.store_pack(last)).await,
        None => Ok(()),
    }
}

async fn work(engine: Arc<Engine>, queue: Queue, refused: mpsc::UnboundedSender<Task>) -> Result<()> {
    let wire = snapshot::reading_wire(&engine.target, engine.major, &engine.encoding, &engine.snapshot).await?;
    let mut reader = Reader::new(engine, wire)?;
    loop {
        let next = queue.lock().await.recv().await;
        let batch = match next {
            None => break,
            Some(Work::LargeObjects(range, sink)) => {
                reader.large_objects(range, sink).await?;
                continue;
            }
            Some(Work::Rows(batch)) => batch,
        };
        if reader.read(&batch, Lock::Try).await? {
            continue;
        }
        // Somebody is in the queue for one of these tables.
        for task in batch {
            if !reader.read(std::slice::from_ref(&task), Lock::Try).await? {
                // An ALTER waits behind the holder's lock: waiting behind the ALTER would be a deadlock that the server
                // cannot see. The holder has its lock already.
                let _ = refused.send(task);
            }
        }
    }
    reader.end().await
}

/// What the session that holds the snapshot does next.
enum Next {
    Read(Work),
    Lock(Vec<String>),
    KeepAlive,
    End,
}

async fn hold(
    engine: Arc<Engine>,
    session: Session,
    mut refusals: mpsc::UnboundedReceiver<Task>,
    own: Option<Queue>,
    mut locked_alone: oneshot::Receiver<Vec<String>>,
) -> Result<()> {
    let lost = |e: Fault| e.explain("the session that holds the snapshot was lost");
    let kept = engine.locks == Locks::Kept;
    let wire = session.into_wire().await?;
    let mut reader = Reader::new(engine, wire)?;
    let mut may_lock = !kept;
    loop {
        let read = async {
            match &own {
                Some(queue) => queue.lock().await.recv().await.map_or(Next::End, Next::Read),
                None => refusals.recv().await.map_or(Next::End, |task| Next::Read(Work::Rows(vec![task]))),
            }
        };
        let next = tokio::select! {
            biased;
            statements = &mut locked_alone, if may_lock => Next::Lock(statements.unwrap_or_default()),
            next = read => next,
            () = tokio::time::sleep(KEEPALIVE) => Next::KeepAlive,
        };
        match next {
            Next::Read(Work::LargeObjects(range, sink)) => reader.large_objects(range, sink).await?,
            Next::Read(Work::Rows(batch)) => {
                let lock = if kept { Lock::Held } else { Lock::Try };
                if !reader.read(&batch, lock).await? {
                    return Err(overtaken("another session waited to change a table"));
                }
            }
            Next::Lock(statements) => {
                may_lock = false;
                take_over(&mut reader.wire, &statements).await?;
            }
            Next::KeepAlive => reader.wire.run("SELECT 1").await.map_err(lost)?,
            Next::End => return reader.end().await,
        }
    }
}

/// Takes the locks that pg_dump had. Its process has ended; the server's may need a moment more to let them go, and meanwhile the table of
/// locks can be full.
async fn take_over(wire: &mut Wire, statements: &[String]) -> Result<()> {
    let begun = Instant::now();
    for statement in statements {
        let lock = format!("SAVEPOINT l; SET LOCAL lock_timeout TO '{LOCK_SOON}'; {statement}; RELEASE SAVEPOINT l");
        loop {
            match wire.run(&lock).await {
                Ok(()) => break,
                Err(Fault::Server(said))
                    if said.code == SqlState::OUT_OF_MEMORY.code() && begun.elapsed() < LETTING_GO =>
                {
                    wire.run("ROLLBACK TO SAVEPOINT l; RELEASE SAVEPOINT l").await.map_err(overtaking)?;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(e) => return Err(overtaking(e)),
            }
        }
    }
    Ok(())
}

/// Where tables are not locked from the snapshot on, a lock that cannot be had and a table or column that is gone mean that a migration
/// came before us.
fn overtaking(e: Fault) -> Error {
    let gone = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::UNDEFINED_TABLE,
        SqlState::UNDEFINED_COLUMN,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::WRONG_OBJECT_TYPE,
    ];
    match &e {
        Fault::Server(said) if gone.iter().any(|code| code.code() == said.code) => {
            overtaken("another session changed a table").because(e.explain("cannot lock the tables"))
        }
        _ => e.explain("cannot lock the tables"),
    }
}

/// Whether a table must be locked before it is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// Without waiting.
    Try,
    /// It is.
    Held,
}

/// A connection that reads pieces of tables.
struct Reader {
    engine: Arc<Engine>,
    wire: Wire,
    writer: FrameWriter,
    locked: HashSet<u32>,
    storing: JoinSet<Result<()>>,
}

impl Reader {
    fn new(engine: Arc<Engine>, wire: Wire) -> Result<Self> {
        let writer = FrameWriter::new(engine.compression)?.checked(engine.checked, engine.compression)?;
        Ok(Self { engine, wire, writer, locked: HashSet::new(), storing: JoinSet::new() })
    }

    /// Reads pieces to their end; false when one of their tables could not be locked, and nothing was read.
    async fn read(&mut self, batch: &[Task], lock: Lock) -> Result<bool> {
        let Some(first) = batch.first() else { return Ok(true) };
        let passing = lock == Lock::Try && self.engine.locks == Locks::Passing;
        let new = |t: &&Task| lock == Lock::Try && (passing || !self.locked.contains(&t.job.table.oid));
        let fresh: Vec<&Table> = batch.iter().filter(new).map(|t| &t.job.table).collect();
        let mut sql = String::new();
        if !fresh.is_empty() {
            sql = format!("SAVEPOINT l; {}", locks::lock_now(fresh.iter().copied()));
            sql.push_str(&if passing {
                locks::changed(fresh.iter().copied())
            } else {
                "RELEASE SAVEPOINT l;\n".into()
            });
        }
        for task in batch {
            sql.push_str(&copy::copy_out(&task.job.table, task.pages, &self.engine.encoding));
            sql.push_str(";\n");
        }
        if passing {
            // Behind the rows the locks are given back.
            sql.push_str("ROLLBACK TO SAVEPOINT l; RELEASE SAVEPOINT l;\n");
        }
        let of = |task: &Task| format!("cannot read table {}.{}", task.job.table.schema, task.job.table.name);
        self.wire.send(&sql).await.map_err(|e| e.explain(&of(first)))?;
        for (n, task) in batch.iter().enumerate() {
            let begun = self.wire.next_copy().await;
            if let Some(changed) = self.wire.answered().first() {
                return Err(overtaken(&format!("table {changed} was truncated or rewritten")));
            }
            match begun {
                Ok(true) => self.piece(task).await?,
                Ok(false) => return Err(Error::new(Kind::Database, format!("{}: the server sent no rows", of(task)))),
                Err(Fault::Server(said))
                    if n == 0 && !fresh.is_empty() && said.code == SqlState::LOCK_NOT_AVAILABLE.code() =>
                {
                    let undone = self.wire.run("ROLLBACK TO SAVEPOINT l; RELEASE SAVEPOINT l").await;
                    undone.map_err(|e| e.explain(&of(task)))?;
                    return Ok(false);
                }
                Err(e) if passing => return Err(overtaking(e).context(of(task))),
                Err(e) => return Err(e.explain(&of(task))),
            }
        }
        let more = self.wire.next_copy().await.map_err(|e| e.explain(&of(first)))?;
        if more {
            return Err(Error::new(Kind::Database, format!("{}: the server sent more than was asked for", of(first))));
        }
        if !passing {
            self.locked.extend(batch.iter().map(|t| t.job.table.oid));
        }
        Ok(true)
    }

    /// Reads one piece, which the server has begun to send.
    async fn piece(&mut self, task: &Task) -> Result<()> {
        let (engine, job) = (&self.engine.clone(), &task.job);
        let label = format!("{}.{}", job.table.schema, job.table.name);
        self.writer.count_rows();
        // When the connection dies, the wire knows what the server said last.
        let failed = |e: Fault| e.explain(&format!("cannot read table {label}"));
        let mut piece = Piece {
            out: job.sink.as_deref().map(|sink| Out { full: sink.frame_bytes(), sink, writer: &mut self.writer }),
            frame: None,
            total: Fingerprint::default(),
            told: Fingerprint::default(),
            row: None,
            frames: Vec::new(),
            in_frame: 0,
        };
        while self.wire.fill().await.map_err(failed)? {
            while let Some(data) = self.wire.data() {
                let added = piece.total.add_piece(&mut piece.row, data.bytes, data.ends);
                added.ok_or_else(|| {
                    let message = format!("table {label}: the server sent a row without a line end");
                    Error::new(Kind::Database, message)
                })?;
                piece.write(data.bytes)?;
                // A frame ends where a row does.
                if data.ends && piece.is_full() {
                    break;
                }
            }
            if piece.is_full() {
                piece.relieve(engine, job).await?;
            }
            if piece.total.bytes - piece.told.bytes >= TOLD_BYTES {
                tell(engine, &mut piece.told, piece.total, 0).await;
            }
        }
        if piece.row.is_some() {
            return Err(Error::new(Kind::Database, format!("table {label}: the server ended within a row")));
        }
        piece.close(engine, job).await?;
        tell(engine, &mut piece.told, piece.total, task.planned).await;
        let Piece { total, frames, .. } = piece;
        let chunk = Chunk { pages: task.pages, rows: total.rows, bytes: total.bytes, fingerprint: total.hex(), frames };
        self.finish_piece(job, chunk).await
    }

    /// Notes a piece; the one that comes last completes the table, whose file is then stored beside whatever is read next.
    async fn finish_piece(&mut self, job: &TableJob, chunk: Chunk) -> Result<()> {
        job.chunks.lock().await.push(chunk);
        if job.remaining.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        let mut table = job.table.clone();
        table.chunks = std::mem::take(&mut *job.chunks.lock().await);
        table.chunks.sort_by_key(|c| c.pages);
        let mut total = 0_u128;
        for chunk in &table.chunks {
            table.rows += chunk.rows;
            table.bytes += chunk.bytes;
            total = total.wrapping_add(parse_sum(&chunk.fingerprint)?);
        }
        table.fingerprint = format!("{total:032x}");
        let Some(sink) = &job.sink else {
            // Without a stored file of ours, the pieces say nothing that the table does not.
            table.chunks.clear();
            let _ = self.engine.done.send(Done::Table(table, None));
            return Ok(());
        };
        let (frame, rest) = sink.end(&frame::terminator(self.engine.compression)?).await?;
        table.terminator = Some(frame);
        let engine = self.engine.clone();
        if let Some(packer) = engine.packer.as_ref().filter(|_| rest.is_small()) {
            let (path, bytes) = rest.into_bytes();
            table.file = Some(path.clone());
            return match packer.add(&path, &bytes, table)? {
                Some(full) => self.store_beside(async move { engine.store_pack(full).await }).await,
                None => Ok(()),
            };
        }
        self.store_beside(async move {
            let file = rest.store().await?;
            table.file = Some(file.path.clone());
            let _ = engine.done.send(Done::Table(table, Some(Arc::new(file))));
            Ok(())
        })
        .await
    }

    /// Reads a range of large objects into its pack.
    async fn large_objects(&mut self, range: Range, sink: Arc<Sink>) -> Result<()> {
        let Range { first, last, .. } = range;
        let what = format!("cannot read large objects {first} to {last}");
        let failed = |e: Fault| e.explain(&what);
        self.wire.send(&large_objects::copy_out(first, last)).await.map_err(failed)?;
        if !self.wire.next_copy().await.map_err(failed)? {
            return Err(Error::new(Kind::Database, format!("{what}: the server sent none")));
        }
        let mut objects = Objects::default();
        let mut pack = PackOut::new(sink, large_objects::compression(self.engine.compression), self.engine.checked)?;
        let mut told = Fingerprint::default();
        while self.wire.fill().await.map_err(failed)? {
            while let Some(data) = self.wire.data() {
                objects.feed(data.bytes, data.ends, &mut |part| pack.write(part)).map_err(|e| e.context(&what))?;
            }
            pack.relieve().await?;
            let total = Fingerprint { bytes: objects.sum.bytes, ..told };
            if total.bytes - told.bytes >= TOLD_BYTES {
                tell(&self.engine, &mut told, total, 0).await;
            }
        }
        if self.wire.next_copy().await.map_err(failed)? {
            return Err(Error::new(Kind::Database, format!("{what}: the server sent more than was asked for")));
        }
        let sum = objects.end().map_err(|e| e.context(&what))?;
        if sum.objects != range.objects {
            let message = format!("{what}: {} came, the catalog has {}", sum.objects, range.objects);
            return Err(Error::new(Kind::Archive, message));
        }
        let total = Fingerprint { bytes: sum.bytes, ..told };
        tell(&self.engine, &mut told, total, 0).await;
        let (frames, rest) = pack.end().await?;
        let engine = self.engine.clone();
        self.store_beside(async move {
            let file = File { members: Some(sum.objects), ..rest.store().await? };
            let chunk = sum.chunk(first, last, file.path.clone(), frames);
            let _ = engine.done.send(Done::LargeObjects(chunk, Arc::new(file)));
            Ok(())
        })
        .await
    }

    /// Stores something beside whatever is read next, unless that is too much already.
    async fn store_beside(&mut self, storing: impl Future<Output = Result<()>> + Send + 'static) -> Result<()> {
        while let Some(stored) = self.storing.try_join_next() {
            joined("storing a table", stored)?;
        }
        if self.storing.len() >= STORED_BESIDE
            && let Some(stored) = self.storing.join_next().await
        {
            joined("storing a table", stored)?;
        }
        self.storing.spawn(self.engine.tracker.track_future(storing));
        Ok(())
    }

    /// Waits for what is being stored, and says good-bye.
    async fn end(mut self) -> Result<()> {
        while let Some(stored) = self.storing.join_next().await {
            joined("storing a table", stored)?;
        }
        self.wire.end().await;
        Ok(())
    }
}

/// Where the rows of a piece go.
struct Out<'a> {
    sink: &'a Sink,
    writer: &'a mut FrameWriter,
    /// Stored bytes at which a frame is closed.
    full: usize,
}

/// A piece of a table on its way into frames.
struct Piece<'a> {
    /// `None` when only the fingerprint is asked for.
    out: Option<Out<'a>>,
    /// The open frame, where it is too large to be kept until it is whole.
    frame: Option<OpenFrame<'a>>,
    total: Fingerprint,
    told: Fingerprint,
    /// A row that has not ended yet.
    row: Option<Box<Xxh3>>,
    frames: Vec<Frame>,
    in_frame: u64,
}

impl Piece<'_> {
    /// True when the open frame is to be closed at the next end of a row.
    fn is_full(&self) -> bool {
        let is_long = |out: &Out<'_>| self.in_frame >= FRAME_TEXT_BYTES || out.writer.ready() >= out.full;
        self.frame.is_some() || self.out.as_ref().is_some_and(is_long)
    }

    /// Adds text to the open frame.
    fn write(&mut self, text: &[u8]) -> Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        self.in_frame += text.len() as u64;
        out.writer.write(text)
    }

    /// Closes the open frame where a row ends. That of a huge row goes into the file while it is made, so that memory does not grow with it.
    async fn relieve(&mut self, engine: &Engine, job: &Arc<TableJob>) -> Result<()> {
        if self.row.is_none() {
            return self.close(engine, job).await;
        }
        if let Some(out) = self.out.as_mut().filter(|out| out.writer.ready() >= MOST_FRAME_BYTES) {
            let frame = match &mut self.frame {
                Some(frame) => frame,
                none => none.insert(out.sink.open_frame().await?),
            };
            frame.write(&out.writer.drain()).await?;
        }
        Ok(())
    }

    /// Closes the open frame, if there is one, and hands it to the table's sink.
    async fn close(&mut self, engine: &Engine, job: &Arc<TableJob>) -> Result<()> {
        let Some(Out { sink, writer, .. }) = &mut self.out else { return Ok(()) };
        self.in_frame = 0;
        let last = writer.finish()?;
        if writer.rows().is_some_and(|made| made != self.total) {
            return Err(not_the_same().context(format!("table {}.{}", job.table.schema, job.table.name)));
        }
        match (self.frame.take(), last) {
            (Some(mut frame), last) => {
                frame.write(&last.unwrap_or_default()).await?;
                self.frames.push(frame.close());
            }
            (None, Some(bytes)) => {
                let frame = sink.append(&bytes).await?;
                // A small file is complete at once, and whoever has no time for a frame finds it in the store later.
                if let (Some(fresh), true) = (&engine.fresh, sink.takes_parts()) {
                    let compression = engine.compression;
                    let _ = fresh.try_send(Fresh {
                        job: job.clone(),
                        frame: frame.clone(),
                        bytes: bytes.into(),
                        compression,
                    });
                }
                self.frames.push(frame);
            }
            (None, None) => {}
        }
        Ok(())
    }
}

/// Tells of the rows read since the last time, and waits until they have had their time: while nobody reads, the server sends no more.
async fn tell(engine: &Engine, told: &mut Fingerprint, total: Fingerprint, planned: u64) {
    let (rows, bytes) = (total.rows - told.rows, total.bytes - told.bytes);
    engine.progress.event(Event::Dumped { rows, bytes, planned });
    *told = total;
    if let Some(rate) = &engine.rate {
        rate.take(bytes).await;
    }
}
