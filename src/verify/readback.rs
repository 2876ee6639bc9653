//! Reading back what lies in the store, and checking it against the manifest.

use crate::{
    archive::pack,
    crypt::Opener,
    error::{self, Error, Kind, Result},
    store::Reader,
    vault::{
        Folder,
        folder::no_identity,
        manifest::{File, Frame, Packed, Plain, Table},
    },
};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{io::AsyncWriteExt, sync::OnceCell};

const DAMAGED: &str = "this backup is damaged: take a new one, and find out who writes to the bucket";

fn differs(file: &File, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Archive, format!("stored file {}: {what}", file.path)).hint(DAMAGED)
}

fn check_size(file: &File, size: u64) -> Result<()> {
    if size == file.size { Ok(()) } else { Err(differs(file, format!("{size} bytes, {} were stored", file.size))) }
}

/// A reading that differs is repeated once: a fault on the way is none of what is stored.
#[derive(Default)]
struct Twice(Option<Error>);

impl Twice {
    /// What a reading came to; `None`: it has to be read once more.
    fn judge<T>(&mut self, folder: &Folder, read: Result<T>) -> Option<Result<T>> {
        match (read, self.0.take()) {
            (Err(e), None) if e.kind() == Kind::Archive => {
                self.0 = Some(e);
                None
            }
            (Err(e), Some(_)) if e.kind() == Kind::Archive => Some(Err(at_rest(&e))),
            (read, Some(first)) => {
                if read.is_ok() {
                    on_the_way(folder, &first);
                }
                Some(read)
            }
            (read, None) => Some(read),
        }
    }
}

/// It differed twice.
fn at_rest(e: &Error) -> Error {
    Error::new(Kind::Archive, format!("{}, read twice", e.message())).hint(DAMAGED)
}

/// It differed once.
fn on_the_way(folder: &Folder, first: &Error) {
    folder.tell(&format!("{}; read once more they are: a fault on the way, not of the backup", first.message()));
}

/// Reads a whole file and checks its size and SHA-256; with `to`, also writes it there.
pub async fn whole(folder: &Folder, file: &File, to: Option<&Path>) -> Result<()> {
    let mut twice = Twice::default();
    loop {
        if let Some(read) = twice.judge(folder, whole_once(folder, file, to).await) {
            return read;
        }
    }
}

async fn whole_once(folder: &Folder, file: &File, to: Option<&Path>) -> Result<()> {
    let mut reader = folder.raw(file, None).await?;
    check_size(file, reader.size)?;
    let mut content = Content::of(folder, file);
    if content.is_none() && file.plain.is_some() && to.is_some() {
        return Err(no_identity(&format!("stored file {}", file.path)));
    }
    let named = |path: &Path| format!("cannot write {}", path.display());
    let mut out = match to {
        Some(path) => Some((tokio::fs::File::create(path).await.map_err(error::io(named(path)))?, path)),
        None => None,
    };
    let (mut sha, mut size) = (Sha256::new(), 0);
    while let Some(bytes) = reader.stream.try_next().await? {
        sha.update(&bytes);
        size += bytes.len() as u64;
        let bytes = match &mut content {
            Some(content) => content.feed(&bytes),
            None => bytes,
        };
        if let Some((out, path)) = &mut out {
            out.write_all(&bytes).await.map_err(error::io(named(path)))?;
        }
    }
    check_size(file, size)?;
    check_sha(file, &sha.finalize())?;
    let rest = content.map(Content::end).transpose()?;
    if let Some((out, path)) = &mut out {
        out.write_all(&rest.unwrap_or_default()).await.map_err(error::io(named(path)))?;
        out.flush().await.map_err(error::io(named(path)))?;
    }
    Ok(())
}

/// What comes out of an encrypted file while its stored bytes pass. What was stored is judged first: bytes that were changed are damage,
/// whatever a key makes of them.
struct Content<'a> {
    file: &'a File,
    opener: Result<Opener>,
    size: u64,
    sha: Sha256,
}

impl<'a> Content<'a> {
    /// `None` where the file is not encrypted, or there is no key.
    fn of(folder: &Folder, file: &'a File) -> Option<Content<'a>> {
        Some(Content { file, opener: Ok(folder.opener(file)?), size: 0, sha: Sha256::new() })
    }

    fn feed(&mut self, stored: &[u8]) -> Bytes {
        let mut bytes = BytesMut::new();
        if let Ok(opener) = &mut self.opener
            && let Err(e) = opener.feed(stored, &mut bytes)
        {
            self.opener = Err(e);
        }
        self.take(&bytes);
        bytes.freeze()
    }

    /// The last bytes.
    fn end(mut self) -> Result<Bytes> {
        let opener = std::mem::replace(&mut self.opener, Err(Error::new(Kind::Archive, "it has ended")));
        let mut bytes = BytesMut::new();
        opener?.end(&mut bytes)?;
        self.take(&bytes);
        let plain = Plain { size: self.size, sha256: hex::encode(self.sha.finalize()) };
        match self.file.plain.as_ref() == Some(&plain) {
            true => Ok(bytes.freeze()),
            false => Err(differs(self.file, "decrypted, its bytes are not what was stored")),
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.sha.update(bytes);
    }
}

/// Reads a whole small file into memory and checks its size and SHA-256. Of one that is encrypted what is in it.
pub async fn small(folder: &Folder, file: &File) -> Result<Bytes> {
    let mut twice = Twice::default();
    loop {
        if let Some(read) = twice.judge(folder, small_once(folder, file).await) {
            return read;
        }
    }
}

async fn small_once(folder: &Folder, file: &File) -> Result<Bytes> {
    let reader = folder.raw(file, None).await?;
    check_size(file, reader.size)?;
    let bytes = reader.bytes().await?;
    check_size(file, bytes.len() as u64)?;
    check_sha(file, &Sha256::digest(&bytes))?;
    if file.plain.is_none() {
        return Ok(bytes);
    }
    let content = Content::of(folder, file);
    let mut content = content.ok_or_else(|| no_identity(&format!("stored file {}", file.path)))?;
    let begin = content.feed(&bytes);
    let end = content.end()?;
    Ok([begin, end].concat().into())
}

fn check_sha(file: &File, sha: &[u8]) -> Result<()> {
    if hex::encode(sha) == file.sha256 {
        return Ok(());
    }
    Err(differs(file, "its bytes are not what was stored"))
}

/// Packs that were read last. Tables that lie in one of them come one after the other.
#[derive(Clone, Default)]
pub struct Packs(Arc<Mutex<Kept>>);

/// The last packs by their paths, the latest first.
type Kept = VecDeque<(String, Arc<Pack>)>;

/// The bytes of a pack, or why it is none.
type Pack = OnceCell<Result<Bytes, String>>;

/// How many packs are kept.
const PACKS: usize = 4;

impl Packs {
    /// The tar of a whole pack, checked.
    pub async fn get(&self, folder: &Folder, file: &File) -> Result<Bytes> {
        let pack = {
            let mut packs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match packs.iter().find(|(path, _)| *path == file.path) {
                Some((_, pack)) => pack.clone(),
                None => {
                    packs.truncate(PACKS - 1);
                    packs.push_front((file.path.clone(), Arc::default()));
                    packs[0].1.clone()
                }
            }
        };
        let read = async || match small(folder, file).await.and_then(|bytes| pack::tar(file.name(), bytes)) {
            // All of its tables have the same fault.
            Err(e) if e.kind() == Kind::Archive => Ok(Err(e.one_line())),
            read => read.map(Ok),
        };
        pack.get_or_try_init(read).await?.clone().map_err(|e| Error::new(Kind::Archive, e).hint(DAMAGED))
    }
}

/// Bytes `range` of a file that lies in the tar of a pack.
pub fn within(tar: &Bytes, pack: &File, packed: &Packed, range: std::ops::Range<u64>) -> Result<Bytes> {
    let at = |byte: u64| packed.offset.checked_add(byte).filter(|&at| at <= tar.len() as u64);
    match (at(range.start), at(range.end)) {
        (Some(start), Some(end)) if start <= end => Ok(tar.slice(start as usize..end as usize)),
        _ => Err(differs(pack, format!("the manifest has a table at byte {}", packed.offset))),
    }
}

/// A table's frames in the order of the file, the terminator last. Fails unless they tile the file without a gap.
pub fn tiles(table: &Table, file: &File) -> Result<Vec<Frame>> {
    let size = table.packed.as_ref().map_or(file.content(), |packed| packed.size);
    let mut frames: Vec<Frame> = table.chunks.iter().flat_map(|c| c.frames.iter().cloned()).collect();
    frames.sort_by_key(|f| f.offset);
    frames.extend(table.terminator.clone());
    gapless(file, &frames, size)?;
    match table.terminator {
        Some(_) => Ok(frames),
        None => Err(differs(file, "the manifest does not name its end")),
    }
}

/// Fails unless the frames tile the file without a gap.
pub fn tile(file: &File, frames: &[Frame]) -> Result<()> {
    gapless(file, frames, file.content())
}

fn gapless(file: &File, frames: &[Frame], size: u64) -> Result<()> {
    let mut at: u64 = 0;
    for frame in frames {
        if frame.offset != at {
            return Err(differs(file, format!("the manifest leaves a gap at byte {at}")));
        }
        let end = at.checked_add(frame.length);
        at = end.ok_or_else(|| differs(file, format!("the manifest has a frame of {} bytes", frame.length)))?;
    }
    match at == size {
        true => Ok(()),
        false => Err(differs(file, format!("the manifest names {at} of its {size} bytes"))),
    }
}

/// A stored frame larger than this holds a huge row, and is handed out in pieces.
const HUGE_FRAME: u64 = 8 << 20;

/// Frames that follow each other in a file, read in one request.
pub struct Frames<'a> {
    /// Where a frame is read once more.
    folder: Option<&'a Folder>,
    file: &'a File,
    /// Those that were not handed out.
    frames: std::slice::Iter<'a, Frame>,
    reader: Reader,
    buffer: BytesMut,
    /// A huge frame, its bytes handed out so far, and their hash.
    open: Option<(&'a Frame, u64, Sha256)>,
    /// What could not be decrypted in the first reading.
    failed: Option<Error>,
}

/// Bytes of a frame.
#[derive(Debug)]
pub struct Piece {
    /// The bytes: the whole frame, unless it is huge.
    pub bytes: Bytes,
    /// The frame ends here, and all of its bytes are what was stored.
    pub ends: bool,
}

impl<'a> Frames<'a> {
    /// Begins to read. `frames` must not be empty and must follow each other.
    pub async fn open(folder: &'a Folder, file: &'a File, frames: &'a [Frame]) -> Result<Self> {
        Self::of(request(folder, file, frames).await?, Some(folder), file, frames)
    }

    /// The same from what [`request`] got.
    pub fn of(reader: Reader, folder: Option<&'a Folder>, file: &'a File, frames: &'a [Frame]) -> Result<Self> {
        check_size(file, reader.size)?;
        Ok(Self { folder, file, frames: frames.iter(), reader, buffer: BytesMut::new(), open: None, failed: None })
    }

    /// The next bytes. A frame is checked before its last bytes are handed out; a huge one comes in pieces, any other whole.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        if let Some((frame, done, sha)) = self.open.take() {
            return self.huge(frame, done, sha).await.map(Some);
        }
        let left = self.frames.as_slice();
        let Some(frame) = self.frames.next() else { return Ok(None) };
        if frame.length > HUGE_FRAME {
            return self.huge(frame, 0, Sha256::new()).await.map(Some);
        }
        self.buffer.reserve((frame.length as usize).saturating_sub(self.buffer.len()));
        while (self.buffer.len() as u64) < frame.length {
            match self.read(frame).await {
                Err(e) if e.kind() == Kind::Archive && self.file.plain.is_some() => self.anew(left, e).await?,
                read => read?,
            }
        }
        let bytes = self.buffer.split_to(frame.length as usize).freeze();
        let bytes = match check_frame(self.file, frame, &Sha256::digest(&bytes)) {
            Ok(()) => {
                if let (Some(first), Some(folder)) = (self.failed.take(), self.folder) {
                    on_the_way(folder, &first);
                }
                bytes
            }
            Err(e) => Self::again(self.folder, self.file, frame, &e).await?,
        };
        Ok(Some(Piece { bytes, ends: true }))
    }

    /// What is encrypted and was changed cannot be decrypted, and neither can what follows: begins once more at the first of `left`.
    async fn anew(&mut self, left: &'a [Frame], first: Error) -> Result<()> {
        let (Some(folder), None) = (self.folder, &self.failed) else { return Err(at_rest(&first)) };
        self.buffer.clear();
        self.reader = request(folder, self.file, left).await?;
        self.failed = Some(first);
        Ok(())
    }

    /// Reads a frame once more that differed.
    async fn again(folder: Option<&Folder>, file: &File, frame: &Frame, first: &Error) -> Result<Bytes> {
        let Some(folder) = folder else { return Err(at_rest(first)) };
        let reader = request(folder, file, std::slice::from_ref(frame)).await?;
        let bytes = reader.bytes().await?;
        check_frame(file, frame, &Sha256::digest(&bytes)).map_err(|e| at_rest(&e))?;
        on_the_way(folder, first);
        Ok(bytes)
    }

    /// The same of one whose bytes were handed out: it can only be told which of the two it was.
    async fn huge_again(folder: Option<&Folder>, file: &File, frame: &Frame, first: Error) -> Error {
        let Some(folder) = folder else { return at_rest(&first) };
        let read = async {
            let mut reader = request(folder, file, std::slice::from_ref(frame)).await?;
            let mut sha = Sha256::new();
            while let Some(bytes) = reader.stream.try_next().await? {
                sha.update(&bytes);
            }
            Ok::<_, Error>(check_frame(file, frame, &sha.finalize()))
        };
        match read.await {
            Ok(Ok(())) => Error::new(Kind::Store, format!("{}; read once more they are: a fault on the way", first.message()))
                .hint("the backup is not damaged: run it again, and look for a bad network card, memory or proxy if it happens again"),
            Ok(Err(e)) => at_rest(&e),
            Err(e) => e,
        }
    }

    async fn huge(&mut self, frame: &'a Frame, done: u64, mut sha: Sha256) -> Result<Piece> {
        if self.buffer.is_empty() {
            self.read(frame).await?;
        }
        let take = (frame.length - done).min(self.buffer.len() as u64);
        let bytes = self.buffer.split_to(take as usize).freeze();
        sha.update(&bytes);
        let ends = done + take == frame.length;
        if ends {
            if let Err(e) = check_frame(self.file, frame, &sha.finalize()) {
                return Err(Self::huge_again(self.folder, self.file, frame, e).await);
            }
        } else {
            self.open = Some((frame, done + take, sha));
        }
        Ok(Piece { bytes, ends })
    }

    async fn read(&mut self, frame: &Frame) -> Result<()> {
        match self.reader.stream.try_next().await? {
            Some(bytes) => self.buffer.extend_from_slice(&bytes),
            None => return Err(differs(self.file, format!("it ends inside the frame at byte {}", frame.offset))),
        }
        Ok(())
    }
}

/// Where frames that follow each other stand in their file.
pub fn range(frames: &[Frame]) -> Option<std::ops::Range<u64>> {
    let (first, last) = (frames.first()?, frames.last()?);
    Some(first.offset..last.offset + last.length)
}

/// Asks the store for frames that follow each other in a file.
pub async fn request(folder: &Folder, file: &File, frames: &[Frame]) -> Result<Reader> {
    let range = range(frames).ok_or_else(|| differs(file, "no frames to read"))?;
    folder.open(file, Some(range)).await
}

fn check_frame(file: &File, frame: &Frame, sha: &[u8]) -> Result<()> {
    if hex::encode(sha) == frame.sha256 {
        return Ok(());
    }
    let end = frame.offset + frame.length;
    Err(differs(file, format!("bytes {} to {end} are not what was stored", frame.offset)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, local::LocalStore};
    use std::sync::Arc;

    #[test]
    fn a_frame_may_claim_any_length() {
        let frame = |offset, length| Frame { offset, length, sha256: String::new() };
        let file = File { path: "t".into(), size: 9, sha256: String::new(), plain: None, members: None };
        assert!(tile(&file, &[frame(0, 4), frame(4, 5)]).is_ok());
        let e = tile(&file, &[frame(0, 10), frame(10, u64::MAX)]).expect_err("is no frame");
        assert!(e.message().contains("a frame of 18446744073709551615 bytes"), "{e}");
    }

    #[tokio::test]
    async fn a_huge_frame_comes_in_pieces_and_is_checked_before_its_last() {
        let root = tempfile::tempdir().expect("has a folder");
        let store: Arc<dyn Store> = Arc::new(LocalStore::open(root.path()).await.expect("opens"));
        let huge = HUGE_FRAME as usize + (3 << 20) + 7;
        let text: Vec<u8> = (0..2 * huge + 300).map(|i| (i % 251) as u8).collect();
        let (mut frames, mut offset) = (Vec::new(), 0);
        for length in [100, huge, 1, huge - 1, 200] {
            let sha256 = hex::encode(Sha256::digest(&text[offset..offset + length]));
            frames.push(Frame { offset: offset as u64, length: length as u64, sha256 });
            offset += length;
        }
        let whole = hex::encode(Sha256::digest(&text));
        let file = File { path: "t".into(), size: text.len() as u64, sha256: whole, plain: None, members: None };
        // Nothing, the first and the last byte of a huge frame, and one of a small one behind it.
        for flipped in [None, Some(100), Some(100 + huge - 1), Some(100 + huge)] {
            let mut stored = text.clone();
            if let Some(at) = flipped {
                stored[at] ^= 1;
            }
            let key = format!("f{flipped:?}/");
            store.put(&format!("{key}t"), Bytes::from(stored)).await.expect("is stored");
            let folder = Folder::new(store.clone(), key);
            let mut reader = Frames::open(&folder, &file, &frames).await.expect("opens");
            let (mut read, mut ended, mut most) = (Vec::new(), 0, 0);
            let outcome = loop {
                match reader.next().await {
                    Ok(Some(Piece { bytes, ends })) => {
                        most = most.max(bytes.len());
                        read.extend_from_slice(&bytes);
                        ended += usize::from(ends);
                    }
                    Ok(None) => break Ok(()),
                    Err(e) => break Err(e),
                }
            };
            assert!(most < HUGE_FRAME as usize / 4, "{most} bytes at once");
            match flipped {
                None => assert!(outcome.is_ok() && ended == frames.len() && read == text),
                Some(at) => {
                    let e = outcome.expect_err("a byte was flipped");
                    let good = frames.iter().take_while(|f| f.offset + f.length <= at as u64).count();
                    assert!(ended == good && e.message().contains("are not what was stored"), "{at}: {ended}, {e}");
                }
            }
        }
    }
}
