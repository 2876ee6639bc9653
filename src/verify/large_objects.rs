//! Large objects of a backup: their packs into the objects that pg_restore has made, and what the restored copy holds of them.

use super::{
    comparison::Comparison,
    readback::{self, Frames, Piece},
    restore::{Restore, StoredObjects},
};
use crate::{
    archive::{
        compression::Compression,
        fingerprint::parse_sum,
        frame::FrameReader,
        pack::{PackReader, Part},
    },
    dump::{
        large_objects::{self, Objects, Sum},
        snapshot,
    },
    error::{Error, Kind, Result, joined},
    postgres::{answer, connect::Session, wire::Fault},
    progress::Event,
    vault::{
        Manifest,
        manifest::{File, LargeObjectChunk},
    },
};
use std::{collections::VecDeque, sync::Arc};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};
use tokio_postgres::types::Type;

/// Bytes and pieces that are written with one statement.
const WRITE_BYTES: usize = 1 << 20;
const WRITE_PIECES: usize = 1000;

/// Stored bytes that are decompressed at a time.
const STEP: usize = 64 << 10;

impl Restore {
    /// Writes the contents of large objects, which are there and empty, over many connections. Returns what went wrong, and how many files
    /// there were.
    pub(super) async fn large_objects(
        &self,
        incoming: mpsc::UnboundedReceiver<StoredObjects>,
    ) -> Result<(Vec<String>, u64)> {
        let incoming = Arc::new(Mutex::new(incoming));
        let mut workers = JoinSet::new();
        for _ in 0..self.jobs {
            let (this, incoming) = (self.clone(), incoming.clone());
            workers.spawn(async move {
                let (mut session, mut problems, mut files) = (None, Vec::new(), 0);
                loop {
                    let next = incoming.lock().await.recv().await;
                    let Some((chunk, file)) = next else { return Ok::<_, Error>((problems, files)) };
                    let open = match session.take() {
                        Some(open) => open,
                        None => snapshot::reading_session(&this.target, this.major, &this.encoding).await?,
                    };
                    files += 1;
                    match this.objects(&open, &chunk, &file).await {
                        Ok(()) => session = Some(open),
                        Err(e) if open.is_closed() || this.part.strict => return Err(e),
                        Err(e) => problems.push(e.one_line()),
                    }
                }
            });
        }
        let (mut problems, mut files) = (Vec::new(), 0);
        while let Some(ended) = workers.join_next().await {
            let (more, read) = joined("restoring large objects", ended)?;
            problems.extend(more);
            files += read;
        }
        problems.sort();
        Ok((problems, files))
    }

    /// Reads a pack back, checks it, and writes what is in it.
    async fn objects(&self, session: &Session, chunk: &LargeObjectChunk, file: &File) -> Result<()> {
        readback::tile(file, &chunk.frames)?;
        let compression = Compression::of_file(&file.path);
        let mut frames = Frames::open(&self.folder, file, &chunk.frames).await?;
        let (mut pack, mut writes) = (PackReader::default(), Writes::default());
        // Frames of one file follow each other: gzip members in a row are one stream.
        let mut text = FrameReader::new(compression)?;
        let damaged = |e: Error| e.context(format!("stored file {}", file.path));
        while let Some(Piece { bytes, .. }) = frames.next().await? {
            for bytes in bytes.chunks(STEP) {
                let text = text.text(bytes).map_err(damaged)?;
                pack.feed(&text, |part| writes.take(part)).map_err(damaged)?;
                self.progress.event(Event::Restored(text.len() as u64));
                if writes.bytes >= WRITE_BYTES || writes.pieces.len() >= WRITE_PIECES {
                    writes.write(session, chunk).await?;
                }
            }
        }
        pack.end().map_err(damaged)?;
        writes.write(session, chunk).await?;
        match writes.objects == chunk.objects {
            true => Ok(()),
            false => {
                let what = format!(
                    "stored file {}: {} large objects in it, {} were stored",
                    file.path, writes.objects, chunk.objects
                );
                Err(Error::new(Kind::Archive, what))
            }
        }
    }
}

/// Pieces of large objects that wait to be written.
#[derive(Default)]
struct Writes {
    objects: u64,
    /// The open object, and its bytes so far.
    at: (u32, i64),
    /// OID, offset and bytes.
    pieces: Vec<(u32, i64, Vec<u8>)>,
    bytes: usize,
}

impl Writes {
    fn take(&mut self, part: Part<'_, &str>) -> Result<()> {
        match part {
            Part::Begins(name, _) => {
                let oid = name.strip_prefix("blob_").and_then(|n| n.strip_suffix(".dat")).and_then(|n| n.parse().ok());
                let oid =
                    oid.ok_or_else(|| Error::new(Kind::Archive, format!("it holds {name}, which is no large object")))?;
                self.at = (oid, 0);
                self.objects += 1;
            }
            Part::Bytes(bytes) => {
                let (oid, at) = self.at;
                match self.pieces.last_mut() {
                    Some((last, from, piece)) if *last == oid && *from + piece.len() as i64 == at => {
                        piece.extend_from_slice(bytes)
                    }
                    _ => self.pieces.push((oid, at, bytes.to_vec())),
                }
                self.at.1 += bytes.len() as i64;
                self.bytes += bytes.len();
            }
            Part::Ends => {}
        }
        Ok(())
    }

    async fn write(&mut self, session: &Session, chunk: &LargeObjectChunk) -> Result<()> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let pieces = std::mem::take(&mut self.pieces);
        self.bytes = 0;
        let oids: Vec<u32> = pieces.iter().map(|p| p.0).collect();
        let offsets: Vec<i64> = pieces.iter().map(|p| p.1).collect();
        let contents: Vec<Vec<u8>> = pieces.into_iter().map(|p| p.2).collect();
        let sql = "SELECT pg_catalog.count(pg_catalog.lo_put(p.oid, p.at, p.content))
                     FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))
                       AS p (oid, at, content)";
        let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
            [(&oids, Type::OID_ARRAY), (&offsets, Type::INT8_ARRAY), (&contents, Type::BYTEA_ARRAY)];
        let written = session.query_typed(sql, &params).await;
        let what = || format!("large objects {} to {}: cannot be restored", chunk.first, chunk.last);
        written.map(drop).map_err(|e| session.explain(&what(), e))
    }
}

/// Compares the large objects of the restored copy with the manifest, over many connections. `owners`: also who owns them.
pub(super) async fn compare(
    restore: &Restore,
    manifest: &Manifest,
    owners: bool,
    found: &mut Comparison,
) -> Result<()> {
    let expected = &manifest.large_object_chunks;
    let queue: VecDeque<LargeObjectChunk> = expected.iter().cloned().collect();
    let queue = Arc::new(std::sync::Mutex::new(queue));
    let mut workers = JoinSet::new();
    for _ in 0..restore.jobs.min(expected.len()) {
        let (this, queue) = (restore.clone(), queue.clone());
        workers.spawn(async move {
            let session = snapshot::reading_session(&this.target, this.major, &this.encoding).await?;
            let mut wire = session.into_wire().await?;
            let mut differences = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop_front();
                let Some(chunk) = next else {
                    wire.end().await;
                    return Ok::<_, Error>(differences);
                };
                let failed = |e: Fault| e.explain("the restored copy cannot be read");
                wire.send(&large_objects::copy_out(chunk.first, chunk.last)).await.map_err(failed)?;
                let mut objects = Objects::default();
                while wire.next_copy().await.map_err(failed)? {
                    while wire.fill().await.map_err(failed)? {
                        while let Some(data) = wire.data() {
                            objects.feed(data.bytes, data.ends, &mut |_| Ok(()))?;
                        }
                    }
                }
                let sum = objects.end()?;
                this.progress.event(Event::Compared(sum.bytes));
                differences.extend(difference(&chunk, &sum, owners)?.map(|line| (chunk.first, line)));
            }
        });
    }
    let mut differences = Vec::new();
    while let Some(ended) = workers.join_next().await {
        differences.extend(joined("comparing large objects", ended)?);
    }
    differences.sort();
    let objects: u64 = expected.iter().map(|c| c.objects).sum();
    found.compared.large_objects += objects;
    found.differences.extend(differences.into_iter().map(|(_, line)| line));
    let session = snapshot::reading_session(&restore.target, restore.major, &restore.encoding).await?;
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata";
    let there = session.query_one(sql, &[]).await.map_err(|e| answer::error("cannot list the large objects", e))?;
    let there = there.get::<_, i64>(0) as u64;
    if there > objects {
        found.differences.push(format!("large objects: {} more in the restored copy", there - objects));
    }
    Ok(())
}

/// One line that says how a range differs; `None` when it does not.
fn difference(chunk: &LargeObjectChunk, is: &Sum, owners: bool) -> Result<Option<String>> {
    let mut words = Vec::new();
    if is.objects < chunk.objects {
        words.push(format!("{} missing in the restored copy", chunk.objects - is.objects));
    } else if is.objects > chunk.objects {
        words.push(format!("{} more in the restored copy", is.objects - chunk.objects));
    }
    if is.bytes != chunk.bytes || is.contents != parse_sum(&chunk.fingerprint)? {
        words.push("content differs".into());
    }
    if owners && is.owners != parse_sum(&chunk.owners)? {
        words.push("owners or privileges differ".into());
    }
    let range = if chunk.first == chunk.last {
        format!("large object {}", chunk.first)
    } else {
        format!("large objects {} to {}", chunk.first, chunk.last)
    };
    Ok((!words.is_empty()).then(|| format!("{range}: {}", words.join(", "))))
}
