//! Connections that read pieces of tables in the shared snapshot, hash each row, compress, and fill the tables' sinks.

use super::{
    copy::{self, Pages},
    fingerprint::Fingerprint,
    frame::{FRAME_BYTES, FrameWriter},
    rate::Rate,
    sink::Sink,
    snapshot,
};
use crate::{
    config::Compression,
    error::{Error, Kind, Result},
    manifest::{Chunk, File, Frame, Table},
    postgres::{connect::Session, conninfo::Target},
    progress::{Event, Progress},
};
use futures_util::{TryStreamExt, pin_mut};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_postgres::error::SqlState;
use tokio_util::task::TaskTracker;

/// Text is handed to the compressor in pieces of this size.
const TEXT_BYTES: usize = 128 << 10;

/// A frame is also closed at this much text, so that a very compressible one stays cheap to read back.
const FRAME_TEXT_BYTES: u64 = 64 << 20;

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
}

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

/// A table that is read to its end, and its stored file.
pub struct Done {
    /// The table's part of the manifest.
    pub table: Table,
    /// The stored file, if it is ours.
    pub file: Option<File>,
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
    /// Connections.
    pub jobs: usize,
    /// How frames are made.
    pub compression: Compression,
    /// How fast rows are read at most; `None`: as fast as they come.
    pub rate: Option<Arc<Rate>>,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Knows every task, so that whoever breaks a run off can wait until none of them works any more.
    pub tracker: TaskTracker,
    /// One permit: whoever holds a huge row or frame in memory.
    pub huge: Arc<Semaphore>,
    /// Takes each table when it is complete.
    pub done: mpsc::UnboundedSender<Done>,
}

type Tasks = Arc<Mutex<mpsc::UnboundedReceiver<Task>>>;

/// Works off `tasks` until their sender is dropped. `holder` is the session that exported the snapshot: it keeps the snapshot alive and
/// reads what the workers cannot lock.
pub async fn run(engine: Arc<Engine>, holder: Session, tasks: mpsc::UnboundedReceiver<Task>) -> Result<()> {
    let tasks: Tasks = Arc::new(Mutex::new(tasks));
    let (refused, refusals) = mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for _ in 0..engine.jobs {
        all.spawn(engine.tracker.track_future(work(engine.clone(), tasks.clone(), refused.clone())));
    }
    drop(refused);
    let tracker = engine.tracker.clone();
    all.spawn(tracker.track_future(hold(engine, holder, refusals)));
    while let Some(ended) = all.join_next().await {
        ended.map_err(|e| Error::new(Kind::Database, "a reading task failed").because(e))??;
    }
    Ok(())
}

async fn work(engine: Arc<Engine>, tasks: Tasks, refused: mpsc::UnboundedSender<Task>) -> Result<()> {
    let session = snapshot::reading_session(&engine.target, engine.major, &engine.encoding).await?;
    snapshot::import(&session, &engine.snapshot).await?;
    let mut locked = HashSet::new();
    loop {
        let next = tasks.lock().await.recv().await;
        let Some(task) = next else { return Ok(()) };
        let table = &task.job.table;
        if !locked.contains(&table.oid) {
            if !lock(&session, table).await? {
                // An ALTER waits behind the holder's lock: waiting behind the ALTER would be a deadlock that the server
                // cannot see. The holder has its lock already.
                let _ = refused.send(task);
                continue;
            }
            locked.insert(table.oid);
        }
        read(&engine, &session, &task).await?;
    }
}

/// Locks a table without waiting; false when somebody is in the queue for it.
async fn lock(session: &Session, table: &Table) -> Result<bool> {
    let only = if table.with_children { "" } else { "ONLY " };
    let name = copy::qualified(&table.schema, &table.name);
    let sql = format!("SAVEPOINT l; LOCK TABLE {only}{name} IN ACCESS SHARE MODE NOWAIT; RELEASE SAVEPOINT l");
    match session.batch_execute(&sql).await {
        Ok(()) => Ok(true),
        Err(e) if e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {
            let undo = session.batch_execute("ROLLBACK TO SAVEPOINT l; RELEASE SAVEPOINT l").await;
            undo.map_err(|e| session.explain(&format!("cannot read table {}.{}", table.schema, table.name), e))?;
            Ok(false)
        }
        Err(e) => Err(session.explain(&format!("cannot lock table {}.{}", table.schema, table.name), e)),
    }
}

async fn hold(engine: Arc<Engine>, session: Session, mut refusals: mpsc::UnboundedReceiver<Task>) -> Result<()> {
    loop {
        match tokio::time::timeout(KEEPALIVE, refusals.recv()).await {
            Ok(Some(task)) => read(&engine, &session, &task).await?,
            Ok(None) => return Ok(()),
            Err(_) => {
                let alive = session.batch_execute("SELECT 1").await;
                alive.map_err(|e| session.explain("the session that holds the snapshot was lost", e))?;
            }
        }
    }
}

/// A piece of a table on its way into frames.
struct Piece {
    writer: Option<FrameWriter>,
    total: Fingerprint,
    told: Fingerprint,
    frames: Vec<Frame>,
    text: Vec<u8>,
    in_frame: u64,
}

/// Reads one piece to its end: its rows in one stream, then its huge ones alone.
async fn read(engine: &Engine, session: &Session, task: &Task) -> Result<()> {
    let job = &task.job;
    let table = &job.table;
    let may_be_huge = task.planned >= copy::MAY_BE_HUGE && !table.with_children && table.condition.is_none();
    let huge = if may_be_huge { copy::huge_rows(session, table, task.pages).await? } else { Vec::new() };
    let mut piece = Piece {
        writer: job.sink.as_ref().map(|_| FrameWriter::new(engine.compression)),
        total: Fingerprint::default(),
        told: Fingerprint::default(),
        frames: Vec::new(),
        text: Vec::with_capacity(TEXT_BYTES * 2),
        in_frame: 0,
    };
    let others = if huge.is_empty() { copy::Rows::All } else { copy::Rows::Without(&huge) };
    stream(engine, session, task, others, &mut piece).await?;
    if !huge.is_empty() {
        // One at a time in the whole run: their memory is all that counts then.
        let _alone = alone(&engine.huge).await?;
        let passing = passing_session(engine, table).await;
        for ctid in &huge {
            stream(engine, passing.as_ref().unwrap_or(session), task, copy::Rows::Only(ctid), &mut piece).await?;
            close(job, &mut piece).await?;
        }
    }
    close(job, &mut piece).await?;
    tell(engine, &mut piece.told, piece.total, task.planned).await;
    let Piece { total, frames, .. } = piece;
    let chunk = Chunk { pages: task.pages, rows: total.rows, bytes: total.bytes, fingerprint: total.hex(), frames };
    finish_piece(engine, job, chunk).await
}

/// A session for huge rows alone: a connection keeps a buffer of the size of its largest row until it ends. `None` where there is none to be
/// had, or where a migration waits for the table and only the worker's own session has its lock.
async fn passing_session(engine: &Engine, table: &Table) -> Option<Session> {
    let session = snapshot::reading_session(&engine.target, engine.major, &engine.encoding).await.ok()?;
    snapshot::import(&session, &engine.snapshot).await.ok()?;
    lock(&session, table).await.ok()?.then_some(session)
}

/// Waits for the right to hold something huge.
pub async fn alone(huge: &Semaphore) -> Result<tokio::sync::SemaphorePermit<'_>> {
    huge.acquire().await.map_err(|_| Error::new(Kind::Interrupted, "the run was broken off"))
}

async fn stream(
    engine: &Engine,
    session: &Session,
    task: &Task,
    which: copy::Rows<'_>,
    piece: &mut Piece,
) -> Result<()> {
    let job = &task.job;
    let label = format!("{}.{}", job.table.schema, job.table.name);
    // When the connection dies, the session knows what the server said last.
    let failed = |e| session.explain(&format!("cannot read table {label}"), e);
    let statement = copy::copy_out(&job.table, task.pages, which, &engine.encoding);
    let rows = session.copy_out(&statement).await.map_err(failed)?;
    pin_mut!(rows);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        // The protocol sends one row per message ("COPY Operations" in PostgreSQL's manual); the fingerprint and the
        // frames' boundaries rest on it.
        if row.last() != Some(&b'\n') {
            return Err(Error::new(Kind::Database, format!("table {label}: the server sent a row without a line end")));
        }
        piece.total.add_row(&row);
        if piece.writer.is_none() {
            if piece.total.bytes - piece.told.bytes >= TEXT_BYTES as u64 {
                drop(row);
                tell(engine, &mut piece.told, piece.total, 0).await;
            }
            continue;
        }
        // A huge row goes to the compressor as it is: one more copy of it would be one too many.
        let huge = row.len() >= TEXT_BYTES;
        if !huge {
            piece.text.extend_from_slice(&row);
            if piece.text.len() < TEXT_BYTES {
                continue;
            }
        }
        compress(piece, if huge { &row } else { &[] })?;
        drop(row);
        tell(engine, &mut piece.told, piece.total, 0).await;
        if piece.writer.as_ref().is_some_and(|w| w.len() >= FRAME_BYTES) || piece.in_frame >= FRAME_TEXT_BYTES {
            close(job, piece).await?;
        }
    }
    Ok(())
}

/// Hands what was gathered, and then one huge row, to the compressor.
fn compress(piece: &mut Piece, row: &[u8]) -> Result<()> {
    if let Some(writer) = &mut piece.writer {
        for text in [&piece.text[..], row] {
            if !text.is_empty() {
                writer.write(text)?;
                piece.in_frame += text.len() as u64;
            }
        }
        piece.text.clear();
    }
    Ok(())
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

/// Closes the open frame, if there is one, and hands it to the table's sink.
async fn close(job: &TableJob, piece: &mut Piece) -> Result<()> {
    compress(piece, &[])?;
    piece.in_frame = 0;
    let frame = match &mut piece.writer {
        Some(writer) => writer.finish()?,
        None => None,
    };
    if let (Some(sink), Some(frame)) = (&job.sink, frame) {
        piece.frames.push(sink.append(&frame).await?);
    }
    Ok(())
}

/// Notes a piece; the one that comes last completes the table.
async fn finish_piece(engine: &Engine, job: &TableJob, chunk: Chunk) -> Result<()> {
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
    let file = match &job.sink {
        None => {
            // Without a stored file of ours, the pieces say nothing that the table does not.
            table.chunks.clear();
            None
        }
        Some(sink) => {
            let (file, terminator) = sink.finish().await?;
            table.file = Some(file.path.clone());
            table.terminator = Some(terminator);
            Some(file)
        }
    };
    // The receiver is gone only when the run has failed elsewhere, and that error counts.
    let _ = engine.done.send(Done { table, file });
    Ok(())
}

/// A fingerprint's sum from its 32 hex digits.
pub fn parse_sum(hex: &str) -> Result<u128> {
    u128::from_str_radix(hex, 16).map_err(|e| Error::new(Kind::Archive, format!("{hex} is no fingerprint")).because(e))
}
