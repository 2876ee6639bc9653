//! Small files on their way into packs, each with what is known of it.

use crate::{
    archive::pack::{self, Pack},
    error::Result,
    progress::{Event, Progress},
    vault::{
        Folder,
        manifest::{File, Packed},
    },
};
use bytes::Bytes;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

/// Numbers for the packs of a backup.
pub type Numbers = Arc<AtomicU32>;

/// Collects small files until a pack is full. `T`: what belongs to a file.
pub struct Packer<T> {
    folder: Folder,
    numbers: Numbers,
    progress: Arc<dyn Progress>,
    open: Mutex<Open<T>>,
}

/// A pack that takes more.
struct Open<T> {
    pack: Pack,
    files: Vec<Member<T>>,
}

impl<T> Default for Open<T> {
    fn default() -> Self {
        Self { pack: Pack::default(), files: Vec::new() }
    }
}

/// What belongs to a file, where its bytes begin, and how many they are.
type Member<T> = (T, u64, u64);

impl<T> Packer<T> {
    /// One that has nothing yet.
    pub fn new(folder: &Folder, numbers: Numbers, progress: Arc<dyn Progress>) -> Self {
        Self { folder: folder.clone(), numbers, progress, open: Mutex::default() }
    }

    /// Takes a file of the archive; a pack that is full with it is to be stored.
    ///
    /// # Errors
    /// When its name is no plain one.
    pub fn add(&self, path: &str, bytes: &[u8], of: T) -> Result<Option<Full<T>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.pack.add(path.strip_prefix("archive/").unwrap_or(path), bytes)?;
        open.files.push((of, at, bytes.len() as u64));
        Ok(open.pack.is_full().then(|| self.close(&mut open)))
    }

    /// The pack that is not full, unless it is empty.
    pub fn last(&self) -> Option<Full<T>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        (!open.pack.is_empty()).then(|| self.close(&mut open))
    }

    fn close(&self, open: &mut Open<T>) -> Full<T> {
        let Open { pack, files } = std::mem::take(open);
        let (bytes, members) = pack.finish();
        let path = format!("archive/{}", pack::name(self.numbers.fetch_add(1, Ordering::Relaxed) + 1));
        Full { folder: self.folder.clone(), progress: self.progress.clone(), path, bytes: bytes.into(), members, files }
    }
}

/// A pack that takes no more.
pub struct Full<T> {
    folder: Folder,
    progress: Arc<dyn Progress>,
    path: String,
    bytes: Bytes,
    members: u64,
    files: Vec<Member<T>>,
}

impl<T> Full<T> {
    /// Stores it: the pack, and where in it each file lies.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn store(self) -> Result<(File, Vec<(T, Packed)>)> {
        let stored = self.bytes.len() as u64;
        let file = File { members: Some(self.members), ..self.folder.put(&self.path, self.bytes).await? };
        self.progress.event(Event::Stored(stored));
        let place = |(of, offset, size)| (of, Packed { pack: self.path.clone(), offset, size });
        Ok((file, self.files.into_iter().map(place).collect()))
    }
}
