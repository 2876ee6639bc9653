//! Reading back what lies in the store, and checking it against the manifest.

use crate::{
    error::{self, Error, Kind, Result},
    manifest::{File, Frame, Table},
    store::Store,
};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use std::{path::Path, sync::Arc};
use tokio::io::AsyncWriteExt;

fn differs(file: &File, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Archive, format!("stored file {}: {what}", file.path))
        .hint("this backup is damaged: take a new one, and find out who writes to the bucket")
}

fn check_size(file: &File, size: u64) -> Result<()> {
    if size == file.size { Ok(()) } else { Err(differs(file, format!("{size} bytes, {} were stored", file.size))) }
}

/// Reads a whole file and checks its size and SHA-256; with `to`, also writes it there.
pub async fn whole(store: &Arc<dyn Store>, folder: &str, file: &File, to: Option<&Path>) -> Result<()> {
    let mut reader = store.open(&format!("{folder}{}", file.path), None).await?;
    check_size(file, reader.size)?;
    let named = |path: &Path| format!("cannot write {}", path.display());
    let mut out = match to {
        Some(path) => Some((tokio::fs::File::create(path).await.map_err(error::io(named(path)))?, path)),
        None => None,
    };
    let (mut sha, mut size) = (Sha256::new(), 0);
    while let Some(bytes) = reader.stream.try_next().await? {
        sha.update(&bytes);
        size += bytes.len() as u64;
        if let Some((out, path)) = &mut out {
            out.write_all(&bytes).await.map_err(error::io(named(path)))?;
        }
    }
    if let Some((out, path)) = &mut out {
        out.flush().await.map_err(error::io(named(path)))?;
    }
    check_size(file, size)?;
    if hex::encode(sha.finalize()) != file.sha256 {
        return Err(differs(file, "its SHA-256 is not that of what was stored"));
    }
    Ok(())
}

/// A table's frames in the order of the file, the terminator last. Fails unless they tile the file without a gap.
pub fn tiles(table: &Table, file: &File) -> Result<Vec<Frame>> {
    let mut frames: Vec<Frame> = table.chunks.iter().flat_map(|c| c.frames.iter().cloned()).collect();
    frames.sort_by_key(|f| f.offset);
    frames.extend(table.terminator.clone());
    let mut at = 0;
    for frame in &frames {
        if frame.offset != at {
            return Err(differs(file, format!("the manifest leaves a gap at byte {at}")));
        }
        at += frame.length;
    }
    if at != file.size || table.terminator.is_none() {
        return Err(differs(file, format!("the manifest names {at} of its {} bytes", file.size)));
    }
    Ok(frames)
}

/// Frames that follow each other in a file, read in one request, each checked before it is handed out.
pub struct Frames<'a> {
    file: &'a File,
    frames: std::slice::Iter<'a, Frame>,
    reader: crate::store::Reader,
    buffer: BytesMut,
}

impl<'a> Frames<'a> {
    /// Begins to read. `frames` must not be empty and must follow each other.
    pub async fn open(store: &Arc<dyn Store>, folder: &str, file: &'a File, frames: &'a [Frame]) -> Result<Self> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Err(differs(file, "no frames to read"));
        };
        let range = first.offset..last.offset + last.length;
        let reader = store.open(&format!("{folder}{}", file.path), Some(range)).await?;
        check_size(file, reader.size)?;
        Ok(Self { file, frames: frames.iter(), reader, buffer: BytesMut::new() })
    }

    /// The next frame's bytes, whole and checked.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(frame) = self.frames.next() else { return Ok(None) };
        self.buffer.reserve((frame.length as usize).saturating_sub(self.buffer.len()));
        while (self.buffer.len() as u64) < frame.length {
            match self.reader.stream.try_next().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Err(differs(self.file, format!("it ends inside the frame at byte {}", frame.offset))),
            }
        }
        let bytes = self.buffer.split_to(frame.length as usize).freeze();
        if hex::encode(Sha256::digest(&bytes)) != frame.sha256 {
            let end = frame.offset + frame.length;
            return Err(differs(self.file, format!("bytes {} to {end} are not what was stored", frame.offset)));
        }
        Ok(Some(bytes))
    }
}
