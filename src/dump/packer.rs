//! Small files on their way into packs, each with what is known of it.

use crate::{
    archive::{
        checked::not_the_same,
        compression::Compression,
        pack::{self, Pack},
    },
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
    gzip: bool,
    checked: bool,
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
    /// One that has nothing yet. `of_rows`: how the rows of the backup are compressed; `checked`: packs are unpacked before they are sent.
    pub fn new(
        folder: &Folder,
        numbers: Numbers,
        of_rows: Compression,
        checked: bool,
        progress: Arc<dyn Progress>,
    ) -> Self {
        let gzip = of_rows != Compression::None;
        Self { folder: folder.clone(), numbers, gzip, checked, progress, open: Mutex::default() }
    }

    /// Takes a file of the archive; a pack that is full with it is to be stored.
    ///
    /// # Errors
    /// When its name is no plain one.
    pub fn add(&self, path: &str, bytes: &[u8], of: T) -> Result<Option<Full<T>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.pack.add(path.strip_prefix("archive/").unwrap_or(path), bytes)?;
        open.files.push((of, at, bytes.len() as u64));
        Ok(if open.pack.is_full() { Some(self.close(&mut open)?) } else { None })
    }

    /// The pack that is not full, unless it is empty.
    ///
    /// # Errors
    /// When it cannot be compressed.
    pub fn last(&self) -> Result<Option<Full<T>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(if open.pack.is_empty() { None } else { Some(self.close(&mut open)?) })
    }

    fn close(&self, open: &mut Open<T>) -> Result<Full<T>> {
        let Open { pack, files } = std::mem::take(open);
        let (bytes, members) = pack.finish(self.gzip)?;
        let name = pack::name(self.numbers.fetch_add(1, Ordering::Relaxed) + 1, self.gzip);
        let bytes = Bytes::from(bytes);
        if self.checked {
            // gzip holds a sum of what went in.
            pack::tar(&name, bytes.clone()).map_err(|e| not_the_same().because(e))?;
        }
        let (folder, progress, path) = (self.folder.clone(), self.progress.clone(), format!("archive/{name}"));
        Ok(Full { folder, progress, path, bytes, members, files })
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
        let place = |(of, offset, size)| (of, Packed { pack: file.path.clone(), offset, size });
        let files = self.files.into_iter().map(place).collect();
        Ok((file, files))
    }
}
