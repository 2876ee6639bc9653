//! Rows of stored tables into a database: groups of frames, each one COPY, over many connections.

use super::{
    readback::{self, Frames, Piece},
    restore::{Restore, Stored},
};
use crate::{
    archive::{
        compression::Compression,
        frame::{self, FrameReader},
    },
    dump::{copy, snapshot, worker::Fresh},
    error::{Error, Kind, Result, joined},
    postgres::connect::Session,
    progress::Event,
    store::Reader,
    vault::manifest::{File, Frame, Table},
};
use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt, pin_mut, stream};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::Read,
    pin::Pin,
    sync::Arc,
};
use tokio::{
    sync::{Mutex, mpsc},
    task::{JoinError, JoinSet},
};
use tokio_postgres::CopyInSink;
use tokio_util::task::AbortOnDropHandle;

/// Stored bytes that one COPY takes.
const GROUP_BYTES: u64 = 16 << 20;

/// Groups of at most so many stored bytes are read ahead.
pub const AHEAD_BYTES: u64 = 256 << 10;
/// How many of them.
pub const AHEAD: usize = 32;

/// Stored bytes of a huge frame that are decompressed at a time: 4 bytes of zstd can stand for 128 KiB.
const PIECE_BYTES: usize = 512;

/// Text is handed to the server in pieces of this size.
const TEXT_BYTES: usize = 256 << 10;

/// By table: where the frames stand in its file that were restored before the file was stored. `None`: it is stored.
///
/// Such a frame is read back and its hash compared like any other, but not restored again: what has the same SHA-256 is what was restored.
#[derive(Default)]
struct Early(std::sync::Mutex<BTreeMap<u32, Option<BTreeSet<u64>>>>);

impl Early {
    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Option<BTreeSet<u64>>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes that a frame is restored early, unless it is too late for that.
    fn takes(&self, table: u32, offset: u64) -> bool {
        let mut kept = self.kept();
        kept.entry(table).or_insert_with(|| Some(BTreeSet::new())).as_mut().is_some_and(|taken| taken.insert(offset))
    }

    /// The frames of a stored table that were; from now on none will be.
    fn close(&self, table: u32) -> BTreeSet<u64> {
        self.kept().insert(table, None).flatten().unwrap_or_default()
    }
}

/// Frames of one table that go into one COPY.
struct Group {
    table: Arc<Table>,
    file: Arc<File>,
    frames: Vec<Frame>,
    /// The last frame is the terminator: checked, not restored.
    ends: bool,
    /// Where frames stand that are only checked too: they were restored early.
    early: Arc<BTreeSet<u64>>,
}

/// A group, and its bytes where they were read ahead.
struct Ready {
    group: Group,
    read: Option<Result<Reader>>,
}

/// What all connections share.
struct Shared<S> {
    /// Frames on their way to the store.
    fresh: Mutex<mpsc::Receiver<Fresh>>,
    /// Groups that lie there, read ahead.
    ready: Mutex<Pin<Box<S>>>,
    early: Early,
    problems: Mutex<Vec<String>>,
    /// Rows restored, by table.
    rows: Mutex<BTreeMap<u32, u64>>,
}

impl Restore {
    /// Restores the rows of tables as they arrive, over many connections. Returns what went wrong, and how many files there were.
    pub(super) async fn rows(
        &self,
        mut tables: mpsc::UnboundedReceiver<Stored>,
        fresh: Option<mpsc::Receiver<Fresh>>,
    ) -> Result<(Vec<String>, u64)> {
        let (sender, groups) = mpsc::unbounded_channel();
        let ahead = self.clone();
        // Dropping the queue, which a worker's failure does, ends what is being read.
        let ready = stream::unfold(groups, async |mut groups| Some((groups.recv().await?, groups)))
            .map(move |group| AbortOnDropHandle::new(tokio::spawn(ahead.clone().ahead(group))))
            .buffered(AHEAD);
        let shared = Arc::new(Shared {
            fresh: Mutex::new(fresh.unwrap_or_else(|| mpsc::channel(1).1)),
            ready: Mutex::new(Box::pin(ready)),
            early: Early::default(),
            problems: Mutex::default(),
            rows: Mutex::default(),
        });
        let mut workers = JoinSet::new();
        for _ in 0..self.jobs {
            workers.spawn(self.clone().connection(shared.clone()));
        }
        let mut expected = Vec::new();
        // Many tables share a pack.
        let mut files = HashSet::new();
        while let Some((table, file)) = tables.recv().await {
            match readback::tiles(&table, &file) {
                Ok(frames) => {
                    files.insert(file.path.clone());
                    let early = Arc::new(shared.early.close(table.oid));
                    for group in groups_of(&table, &file, frames, &early) {
                        // The workers hold the receiver until the sender is dropped, or have failed, which counts below.
                        let _ = sender.send(group);
                    }
                    expected.push(table);
                }
                Err(e) => shared.problems.lock().await.push(e.one_line()),
            }
        }
        drop(sender);
        while let Some(ended) = workers.join_next().await {
            joined("restoring", ended)?;
        }
        let mut problems = std::mem::take(&mut *shared.problems.lock().await);
        let rows = shared.rows.lock().await;
        for table in expected {
            let restored = rows.get(&table.oid).copied().unwrap_or_default();
            if restored != table.rows && problems.is_empty() {
                problems.push(format!(
                    "table {}.{}: {restored} rows restored, {} were dumped",
                    table.schema, table.name, table.rows
                ));
            }
        }
        problems.dedup();
        Ok((problems, files.len() as u64))
    }

    /// One connection: restores what comes next, frames on their way to the store before groups that lie there, until there is no more.
    async fn connection<S>(self, shared: Arc<Shared<S>>) -> Result<()>
    where
        S: Stream<Item = Result<Ready, JoinError>> + Send,
    {
        let mut session = snapshot::reading_session(&self.target, self.major, &self.encoding).await?;
        loop {
            let (oid, restored) = tokio::select! {
                biased;
                Some(frame) = async { shared.fresh.lock().await.recv().await } => {
                    let oid = frame.job.table().oid;
                    if !shared.early.takes(oid, frame.frame.offset) {
                        continue;
                    }
                    (oid, self.fresh(&session, frame).await)
                }
                next = async { shared.ready.lock().await.next().await } => {
                    let Some(ready) = next else { return Ok(()) };
                    let ready = ready.map_err(|e| Error::new(Kind::Store, "reading back stopped").because(e))?;
                    (ready.group.table.oid, self.group(&session, ready).await)
                }
            };
            match restored {
                Ok(restored) => *shared.rows.lock().await.entry(oid).or_default() += restored,
                Err(e) if session.is_closed() || self.part.strict => return Err(e),
                Err(e) => {
                    shared.problems.lock().await.push(e.one_line());
                    // The driver falls out of step with the server behind a COPY that was refused at its start.
                    session = snapshot::reading_session(&self.target, self.major, &self.encoding).await?;
                }
            }
        }
    }

    /// Reads small groups ahead: far from the store, each would have to wait for its answer.
    async fn ahead(self, group: Group) -> Ready {
        if let (Some(packed), Some(range)) = (&group.table.packed, readback::range(&group.frames)) {
            let tar = self.packs.get(&self.folder, &group.file).await;
            let bytes = tar.and_then(|tar| readback::within(&tar, &group.file, packed, range));
            let read = Some(bytes.map(|bytes| Reader::of(group.file.size, bytes)));
            return Ready { group, read };
        }
        let bytes: u64 = group.frames.iter().map(|f| f.length).sum();
        if bytes > AHEAD_BYTES {
            return Ready { group, read: None };
        }
        if let (Some(file), Some(range)) = (self.read.get(&group.file.path), readback::range(&group.frames))
            && range.end <= file.len() as u64
        {
            let read = Reader::of(group.file.size, file.slice(range.start as usize..range.end as usize));
            return Ready { group, read: Some(Ok(read)) };
        }
        let read = async {
            let reader = readback::request(&self.folder, &group.file, &group.frames).await?;
            let size = reader.size;
            Ok(Reader::of(size, reader.bytes().await?))
        };
        let read = Some(read.await);
        Ready { group, read }
    }

    /// One COPY of a frame whose file is not stored yet. Returns the rows that the server took.
    async fn fresh(&self, session: &Session, fresh: Fresh) -> Result<u64> {
        let table = fresh.job.table();
        let label = format!("table {}.{}", table.schema, table.name);
        let failed = |e| session.explain(&format!("{label}: cannot be restored"), e);
        let into = session.copy_in::<_, Bytes>(&copy::copy_in(table, &self.encoding)).await.map_err(failed)?;
        pin_mut!(into);
        self.send(into.as_mut(), fresh.compression, fresh.bytes, &label, &failed).await?;
        into.finish().await.map_err(failed)
    }

    /// Sends the text of a whole frame. `of`: what it is a frame of.
    async fn send(
        &self,
        mut into: Pin<&mut CopyInSink<Bytes>>,
        compression: Compression,
        frame: Bytes,
        of: &str,
        failed: &(impl Fn(tokio_postgres::Error) -> Error + Sync),
    ) -> Result<()> {
        let mut text = frame::open_frame(compression, frame)?;
        loop {
            let mut piece = Vec::with_capacity(TEXT_BYTES);
            let read = text.by_ref().take(TEXT_BYTES as u64).read_to_end(&mut piece);
            let read = read.map_err(|e| frame::damaged(e).context(of))?;
            if read == 0 {
                return Ok(());
            }
            into.send(piece.into()).await.map_err(failed)?;
            self.progress.event(Event::Restored(read as u64));
        }
    }

    /// One COPY: read back, check, decompress, send. Returns the rows that the server took.
    async fn group(&self, session: &Session, ready: Ready) -> Result<u64> {
        let Ready { group, read } = ready;
        let (table, file) = (&group.table, &group.file);
        let label = format!("table {}.{}", table.schema, table.name);
        // A pack says nothing of its members.
        let compression = Compression::of_file(table.file.as_deref().unwrap_or_default());
        // Of a pack, all was checked as a whole.
        let unpacked = table.packed.is_none().then_some(&self.folder);
        let read = match read {
            // What cannot be decrypted is read once more, as any other reading that differs is.
            Some(Err(e)) if e.kind() == Kind::Archive && file.plain.is_some() && unpacked.is_some() => {
                self.folder.tell(&format!("{}; it is read once more", e.message()));
                None
            }
            read => read,
        };
        let mut frames = match read {
            Some(read) => Frames::of(read?, unpacked, file, &group.frames)?,
            None => Frames::open(&self.folder, file, &group.frames).await?,
        };
        let failed = |e| session.explain(&format!("{label}: cannot be restored"), e);
        let with_rows = &group.frames[..group.frames.len() - usize::from(group.ends)];
        let is_early = |frame: &Frame| group.early.contains(&frame.offset);
        let mut rows = 0;
        if with_rows.iter().all(is_early) {
            for _ in with_rows {
                while frames.next().await?.is_some_and(|piece| !piece.ends) {}
            }
        } else {
            let into = session.copy_in::<_, Bytes>(&copy::copy_in(table, &self.encoding)).await.map_err(failed)?;
            pin_mut!(into);
            for frame in with_rows {
                // Of a frame that comes in pieces.
                let mut open: Option<FrameReader> = None;
                while let Some(Piece { bytes, ends }) = frames.next().await? {
                    if is_early(frame) {
                        // It is as it was when it was restored, or `next` had failed.
                    } else if ends && open.is_none() {
                        self.send(into.as_mut(), compression, bytes, &file.path, &failed).await?;
                    } else {
                        let reader = match &mut open {
                            Some(reader) => reader,
                            none => none.insert(FrameReader::new(compression)?),
                        };
                        let mut text = Vec::new();
                        let last = bytes.len().saturating_sub(1) / PIECE_BYTES;
                        for (n, bytes) in bytes.chunks(PIECE_BYTES).enumerate() {
                            text.append(&mut reader.text(bytes).map_err(|e| e.context(&file.path))?);
                            if text.len() >= TEXT_BYTES || n == last {
                                self.progress.event(Event::Restored(text.len() as u64));
                                into.send(std::mem::take(&mut text).into()).await.map_err(failed)?;
                            }
                        }
                    }
                    if ends {
                        break;
                    }
                }
            }
            rows = into.finish().await.map_err(failed)?;
        }
        if group.ends {
            check_terminator(&mut frames, file, compression).await?;
        }
        Ok(rows)
    }
}

async fn check_terminator(frames: &mut Frames<'_>, file: &File, compression: Compression) -> Result<()> {
    let mut text = Vec::new();
    if let Some(Piece { bytes, .. }) = frames.next().await? {
        let read = frame::open_frame(compression, bytes)?.read_to_end(&mut text);
        read.map_err(|e| frame::damaged(e).context(&file.path))?;
    }
    if text != frame::TERMINATOR {
        let message = format!("stored file {}: it does not end as COPY data must", file.path);
        return Err(Error::new(Kind::Archive, message));
    }
    Ok(())
}

/// Cuts a file's frames into groups for one COPY each.
fn groups_of(table: &Arc<Table>, file: &Arc<File>, frames: Vec<Frame>, early: &Arc<BTreeSet<u64>>) -> Vec<Group> {
    let mut groups: Vec<Vec<Frame>> = Vec::new();
    let mut size = u64::MAX;
    for frame in frames {
        if size.saturating_add(frame.length) > GROUP_BYTES {
            groups.push(Vec::new());
            size = 0;
        }
        size += frame.length;
        if let Some(group) = groups.last_mut() {
            group.push(frame);
        }
    }
    let last = groups.len().saturating_sub(1);
    let group =
        |(n, frames)| Group { table: table.clone(), file: file.clone(), frames, ends: n == last, early: early.clone() };
    groups.into_iter().enumerate().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_must_end_as_copy_data_does() {
        use crate::{
            store::{Store, local::LocalStore},
            vault::Folder,
        };
        let root = tempfile::tempdir().expect("has a folder");
        let store: Arc<dyn Store> = Arc::new(LocalStore::open(root.path()).await.expect("opens"));
        for (n, text) in [frame::TERMINATOR, b"\\.\n\n".as_slice(), b"1\n\\.\n\n\n", b""].into_iter().enumerate() {
            for compression in [Compression::None, Compression::Gzip(1), Compression::Zstd(1)] {
                let mut writer = frame::FrameWriter::new(compression).unwrap();
                writer.write(text).unwrap();
                let stored = writer.finish().unwrap().unwrap();
                let (length, sha256) =
                    (stored.len() as u64, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&stored)));
                let file = File {
                    path: format!("t{n}{}", compression.suffix()),
                    size: length,
                    sha256: sha256.clone(),
                    plain: None,
                    members: None,
                };
                store.put(&file.path, stored.into()).await.expect("is stored");
                let frames = [Frame { offset: 0, length, sha256 }];
                let folder = Folder::new(store.clone(), "");
                let mut reader = Frames::open(&folder, &file, &frames).await.expect("opens");
                let checked = check_terminator(&mut reader, &file, compression).await;
                assert_eq!(checked.is_ok(), n == 0, "{text:?} {compression}: {checked:?}");
                let again = check_terminator(&mut reader, &file, compression).await;
                assert!(
                    again.is_err_and(|e| e.message().contains("does not end as COPY data must")),
                    "no frame is left"
                );
            }
        }
    }
}
