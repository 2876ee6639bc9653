//! One stored file in the making: frames come from many workers, parts go to the store.

use crate::{
    archive::frame,
    error::{Error, Kind, Result, joined},
    progress::{Event, Progress},
    store::{MAX_PARTS, MIN_PART, Upload},
    vault::{
        folder::{FileInTheMaking, Folder},
        manifest::{File, Frame},
    },
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::{
    sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

/// Bytes of a run that may be on their way to the store at a time.
pub const IN_FLIGHT: usize = 64 << 20;

/// The smallest part that we send, in bytes.
const BASE_PART: u64 = 8 << 20;

/// Frames of a table that are no burden to a manifest.
const FRAMES: u64 = 4096;

/// Bytes that one permit of the run's semaphore stands for.
const PERMIT_BYTES: usize = 1 << 20;

/// What bounds the memory of all uploads of a run together.
#[derive(Clone, Debug)]
pub struct InFlight(Arc<Semaphore>, u32);

impl InFlight {
    /// At most this many bytes are handed to the store and not yet acknowledged. A part larger than that goes alone.
    pub fn new(bytes: usize) -> Self {
        let permits = (bytes / PERMIT_BYTES).max(1) as u32;
        Self(Arc::new(Semaphore::new(permits as usize)), permits)
    }

    async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let permits = (bytes.div_ceil(PERMIT_BYTES) as u32).clamp(1, self.1);
        let taken = self.0.clone().acquire_many_owned(permits).await;
        taken.map_err(|_| Error::new(Kind::Interrupted, "the run was interrupted"))
    }
}

/// The size of part `number` (from 1) in bytes for a file planned at `expected` bytes. All parts have one size, as some clones of S3 demand
/// (<https://developers.cloudflare.com/r2/objects/multipart-objects/>); only a file that outgrows its plan gets larger ones behind its
/// 8,000th, so that it may be ten times as large before [`MAX_PARTS`] binds.
fn part_bytes(expected: u64, number: u32) -> u64 {
    const EVEN: u32 = MAX_PARTS * 8 / 10;
    let base = BASE_PART.max(expected.div_ceil(u64::from(EVEN)));
    base << (number.saturating_sub(EVEN).div_ceil(250))
}

/// One stored file in the making.
pub struct Sink {
    key: String,
    path: String,
    folder: Folder,
    expected: u64,
    in_flight: InFlight,
    progress: Arc<dyn Progress>,
    state: Arc<Mutex<State>>,
}

struct State {
    /// `None` once the file is sealed or given up: a worker that has not noticed yet must not begin anew.
    file: Option<FileInTheMaking>,
    /// Bytes of the file itself, coat left out: where the next frame begins.
    offset: u64,
    sent: u64,
    parts: u32,
    upload: Option<Arc<dyn Upload>>,
    uploads: JoinSet<Result<()>>,
}

impl Sink {
    /// A sink for a file of a backup; nothing is sent before the first part is full. `expected`: planned size in bytes.
    pub fn new(folder: &Folder, path: String, expected: u64, in_flight: InFlight, progress: Arc<dyn Progress>) -> Self {
        let (folder, file) = (folder.clone(), folder.begin(&path));
        let key = folder.key(file.path());
        let state = State { file: Some(file), offset: 0, sent: 0, parts: 0, upload: None, uploads: JoinSet::new() };
        Self { key, path, folder, expected, in_flight, progress, state: Arc::new(Mutex::new(state)) }
    }

    /// Whether more than one part is planned, so that nothing of the file can be read before its end.
    pub fn takes_parts(&self) -> bool {
        self.expected > BASE_PART
    }

    /// Bytes at which a frame of this file is closed.
    pub fn frame_bytes(&self) -> usize {
        let wanted = usize::try_from(self.expected / FRAMES).unwrap_or(usize::MAX);
        wanted.clamp(frame::FRAME_BYTES, frame::MOST_FRAME_BYTES)
    }

    /// Appends one frame. Its place in the file and the file's hash are settled here, under the lock; a part that is
    /// full then goes to the store outside of it.
    pub async fn append(&self, frame: &[u8]) -> Result<Frame> {
        let mut open = self.open_frame().await?;
        open.write(frame).await?;
        Ok(open.close())
    }

    /// Begins a frame that is too large to be kept until it is whole. The other workers of this table wait until it is closed.
    pub async fn open_frame(&self) -> Result<OpenFrame<'_>> {
        let state = self.state.clone().lock_owned().await;
        if state.file.is_none() {
            return Err(broken_off());
        }
        Ok(OpenFrame { sink: self, offset: state.offset, state, sha: Sha256::new() })
    }

    /// Takes bytes of the open frame, and sends what fills whole parts.
    async fn write(&self, state: &mut State, bytes: &[u8]) -> Result<()> {
        let sent = state.parts;
        let file = state.file.as_mut().ok_or_else(broken_off)?;
        file.add(bytes)?;
        state.offset += bytes.len() as u64;
        for part in file.full_parts(|n| part_bytes(self.expected, sent + n) as usize) {
            debug_assert!(part.len() as u64 >= MIN_PART);
            self.send(state, part).await?;
        }
        Ok(())
    }

    /// Hands bytes to the store as the next part. Waits for memory while it holds the sink's lock: the other workers
    /// of this table would have to wait for the same memory.
    async fn send(&self, state: &mut State, body: Bytes) -> Result<()> {
        let permit = self.in_flight.take(body.len()).await?;
        self.send_with(state, body, permit).await
    }

    async fn send_with(&self, state: &mut State, body: Bytes, permit: OwnedSemaphorePermit) -> Result<()> {
        while let Some(done) = state.uploads.try_join_next() {
            joined("an upload", done)?;
        }
        if state.parts == MAX_PARTS {
            let what = format!("{} is larger than {MAX_PARTS} parts of S3 can hold", self.folder.uri(&self.path));
            return Err(Error::new(Kind::Store, what).hint("choose a stronger compression, or split the table"));
        }
        let upload = match &state.upload {
            Some(upload) => upload.clone(),
            None => state.upload.insert(self.folder.store().create_upload(&self.key).await?).clone(),
        };
        let (number, offset) = (state.parts + 1, state.sent);
        state.parts = number;
        state.sent += body.len() as u64;
        let progress = self.progress.clone();
        state.uploads.spawn(async move {
            let bytes = body.len() as u64;
            upload.put_part(number, offset, body).await?;
            drop(permit);
            progress.event(Event::Stored(bytes));
            Ok(())
        });
        Ok(())
    }

    /// Appends the last frame. Waits for the memory of what is left, which is then stored beside whatever comes next.
    pub async fn end(self: &Arc<Self>, last: &[u8]) -> Result<(Frame, Rest)> {
        let mut open = self.open_frame().await?;
        open.write(last).await?;
        let OpenFrame { mut state, sha, offset, .. } = open;
        let length = state.offset - offset;
        let frame = Frame { offset, length, sha256: hex::encode(sha.finalize()) };
        let file = state.file.take().ok_or_else(broken_off)?;
        let begun = state.upload.is_some();
        let permit = self.in_flight.take(file.waiting()).await?;
        drop(state);
        Ok((frame, Rest { sink: self.clone(), file, begun, permit }))
    }

    /// Drops what was sent. The key of the file, for a caller that also removes finished files.
    pub async fn abort(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.file = None;
        state.uploads.shutdown().await;
        match state.upload.take() {
            Some(upload) => upload.abort().await,
            None => Ok(()),
        }
    }

    /// The file's key in the store.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// What is left of a file to be stored.
pub struct Rest {
    sink: Arc<Sink>,
    file: FileInTheMaking,
    /// Parts of it were sent.
    begun: bool,
    permit: OwnedSemaphorePermit,
}

impl Rest {
    /// Whether it is all of the file, and so small that it may lie in a pack.
    pub fn is_small(&self) -> bool {
        !self.begun && self.file.is_small()
    }

    /// The name and the bytes of a small file, for whoever stores them in another way.
    pub fn into_bytes(self) -> (String, Bytes) {
        (self.sink.path.clone(), self.file.into_bytes())
    }

    /// Stores it and makes the file visible.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn store(self) -> Result<File> {
        let Rest { sink, file, permit, .. } = self;
        let (file, body) = file.end()?;
        let mut state = sink.state.clone().lock_owned().await;
        if state.upload.is_none() {
            let bytes = body.len() as u64;
            sink.folder.store().put(&sink.key, body).await?;
            sink.progress.event(Event::Stored(bytes));
            return Ok(file);
        }
        sink.send_with(&mut state, body, permit).await?;
        while let Some(done) = state.uploads.join_next().await {
            joined("an upload", done)?;
        }
        if let Some(upload) = &state.upload {
            upload.complete().await?;
        }
        state.upload = None;
        Ok(file)
    }
}

/// A frame in the making that goes straight into its file.
pub struct OpenFrame<'a> {
    sink: &'a Sink,
    state: OwnedMutexGuard<State>,
    sha: Sha256,
    offset: u64,
}

impl OpenFrame<'_> {
    /// Appends bytes of the frame.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sha.update(bytes);
        self.sink.write(&mut self.state, bytes).await
    }

    /// The frame's place in the file.
    pub fn close(self) -> Frame {
        let length = self.state.offset - self.offset;
        Frame { offset: self.offset, length, sha256: hex::encode(self.sha.finalize()) }
    }
}

fn broken_off() -> Error {
    Error::new(Kind::Interrupted, "the run was broken off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_respect_both_limits_of_s3() {
        for expected in [0, 1 << 30, 70 << 30, 1 << 40, 5 << 40] {
            let total: u64 = (1..=MAX_PARTS).map(|n| part_bytes(expected, n)).sum();
            assert!(part_bytes(expected, 1) >= MIN_PART);
            assert!(total >= expected.saturating_mul(10), "{expected} bytes planned, {total} possible");
            assert!((1..=8_000).all(|n| part_bytes(expected, n) == part_bytes(expected, 1)));
        }
        assert_eq!((part_bytes(0, 1), part_bytes(0, 8_001)), (8 << 20, 16 << 20));
    }

    #[tokio::test]
    async fn frames_of_a_large_table_are_larger() {
        let root = tempfile::tempdir().expect("has a folder");
        let store: Arc<dyn crate::store::Store> =
            Arc::new(crate::store::local::LocalStore::open(root.path()).await.expect("opens"));
        for (expected, bytes) in
            [(0, 1 << 20), (4 << 30, 1 << 20), (8 << 30, 2 << 20), (16 << 30, 4 << 20), (5 << 40, 4 << 20)]
        {
            let (progress, in_flight) = (Arc::new(Sizes::default()), InFlight::new(1 << 20));
            let sink = Sink::new(&Folder::new(store.clone(), ""), "t".into(), expected, in_flight, progress);
            assert_eq!(sink.frame_bytes(), bytes, "{expected} bytes planned");
        }
    }

    /// Keeps the size of everything that was stored.
    #[derive(Default)]
    struct Sizes(std::sync::Mutex<Vec<u64>>);

    impl Progress for Sizes {
        fn event(&self, event: Event<'_>) {
            if let Event::Stored(bytes) = event {
                self.0.lock().expect("is not poisoned").push(bytes);
            }
        }
    }

    #[tokio::test]
    async fn all_parts_but_the_last_have_one_size_whatever_the_frames() {
        let root = tempfile::tempdir().expect("has a folder");
        let store: Arc<dyn crate::store::Store> =
            Arc::new(crate::store::local::LocalStore::open(root.path()).await.expect("opens"));
        for frames in [vec![3_usize << 20; 9], vec![5 << 20, 40 << 20, 1], vec![8 << 20, 8 << 20], vec![100]] {
            let (sizes, in_flight) = (Arc::new(Sizes::default()), InFlight::new(64 << 20));
            let sink = Sink::new(&Folder::new(store.clone(), "f/"), "t".into(), 0, in_flight, sizes.clone());
            let sink = Arc::new(sink);
            let mut whole = Vec::new();
            for (n, length) in frames.iter().enumerate() {
                let frame: Vec<u8> = (0..*length).map(|i| (i / 7 + n) as u8).collect();
                sink.append(&frame).await.expect("is taken");
                whole.extend(frame);
            }
            let (_, rest) = sink.end(frame::TERMINATOR).await.expect("has ended");
            let file = rest.store().await.expect("is stored");
            whole.extend(frame::TERMINATOR);
            let stored = store.open("f/t", None).await.expect("is there").bytes().await.expect("is read");
            assert!(stored == whole && file.size == whole.len() as u64, "{frames:?}");
            let mut sizes = std::mem::take(&mut *sizes.0.lock().expect("is not poisoned"));
            sizes.sort_unstable();
            let last = sizes.remove(0);
            assert!(last <= BASE_PART && sizes.iter().all(|&s| s == BASE_PART), "{frames:?}: {sizes:?}, {last}");
        }
    }
}
