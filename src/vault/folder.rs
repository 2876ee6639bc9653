//! A backup's folder in a destination, and the seam through which its bytes pass.
//!
//! Everything of a backup but its manifest and proof records goes into the store through a [`Folder`] (small files whole, large ones part by
//! part, table files through `dump::sink`), and each of these ways asks [`Folder::coat`] for what stands between the bytes of the archive and
//! the bytes in the store. Today that is nothing: [`Bare`].

use super::manifest::File;
use crate::{
    error::{self, Result},
    progress::{Event, Progress},
    store::{Reader, Store},
};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use std::{fmt, ops::Range, path::Path, sync::Arc};
use tokio::io::AsyncReadExt;

/// Size of the parts in which local files are sent, in stored bytes.
const FILE_PART: usize = 16 << 20;

/// Bytes of a local file that are read at a time.
const FILE_STEP: usize = 256 << 10;

/// What turns a file's bytes into the bytes that are stored, in their order: one for each file.
///
/// Frames, chunks and their hashes in the manifest are of the file's own bytes; a stored file's size and SHA-256 are of the stored ones.
pub trait Coat: Send {
    /// Adds what the next bytes of the file become.
    fn add(&mut self, bytes: &[u8], stored: &mut BytesMut);

    /// Adds what stands behind the last byte.
    fn end(&mut self, stored: &mut BytesMut);
}

/// Bytes are stored as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare;

impl Coat for Bare {
    fn add(&mut self, bytes: &[u8], stored: &mut BytesMut) {
        stored.extend_from_slice(bytes);
    }

    fn end(&mut self, _stored: &mut BytesMut) {}
}

/// A backup's folder in a destination.
#[derive(Clone)]
pub struct Folder {
    store: Arc<dyn Store>,
    prefix: String,
    told: Option<Arc<dyn Progress>>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({})", self.uri(""))
    }
}

impl Folder {
    /// The folder `<database>/<YYYY>/<MM>/<DD>/<id>/`, with a slash at its end, of a store.
    pub fn new(store: Arc<dyn Store>, prefix: impl Into<String>) -> Folder {
        Folder { store, prefix: prefix.into(), told: None }
    }

    /// The same; what is odd about reading it is told.
    #[must_use]
    pub fn telling(self, progress: Arc<dyn Progress>) -> Folder {
        Folder { told: Some(progress), ..self }
    }

    /// Tells what is odd and no error.
    pub fn tell(&self, line: &str) {
        if let Some(progress) = &self.told {
            progress.event(Event::Warning(line));
        }
    }

    /// The store that it lies in.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Its key, with a slash at its end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a file in it.
    pub fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The address of a file in it, or of the folder itself (`""`).
    pub fn uri(&self, path: &str) -> String {
        self.store.uri(&self.key(path))
    }

    /// What stands between the bytes of a new file and those in the store.
    pub fn coat(&self) -> Box<dyn Coat> {
        Box::new(Bare)
    }

    /// Reads a file, or a range of its bytes.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open(&self, path: &str, range: Option<Range<u64>>) -> Result<Reader> {
        self.store.open(&self.key(path), range).await
    }

    /// Stores a small file in one request.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<File> {
        let mut file = FileInTheMaking::new(self.coat());
        file.add(&bytes);
        let (file, body) = file.end(path);
        self.store.put(&self.key(path), body).await?;
        Ok(file)
    }

    /// Stores a local file of any size with one part of it in memory.
    ///
    /// # Errors
    /// When it cannot be read or stored. An upload that was begun is aborted by whoever cleans up behind the run.
    pub async fn put_file(&self, path: &str, from: &Path) -> Result<File> {
        let failed = || error::io(format!("cannot read {}", from.display()));
        let mut input = tokio::fs::File::open(from).await.map_err(failed())?;
        let mut file = FileInTheMaking::new(self.coat());
        let (mut sent, mut number, mut upload) = (0, 0, None);
        let mut step = vec![0; FILE_STEP];
        loop {
            let read = input.read(&mut step).await.map_err(failed())?;
            file.add(&step[..read]);
            if read == 0 {
                break;
            }
            for part in file.full_parts(|_| FILE_PART) {
                let upload = match &mut upload {
                    Some(upload) => upload,
                    none => none.insert(self.store.create_upload(&self.key(path)).await?),
                };
                number += 1;
                let offset = sent;
                sent += part.len() as u64;
                upload.put_part(number, offset, part).await?;
            }
        }
        let (file, rest) = file.end(path);
        match upload {
            None => self.store.put(&self.key(path), rest).await?,
            Some(upload) => {
                upload.put_part(number + 1, sent, rest).await?;
                upload.complete().await?;
            }
        }
        Ok(file)
    }
}

/// The stored bytes of a file, counted and hashed, as far as they were not sent yet.
pub struct FileInTheMaking {
    coat: Box<dyn Coat>,
    buffer: BytesMut,
    size: u64,
    sha: Sha256,
}

impl FileInTheMaking {
    /// Of a file with this coat.
    pub fn new(coat: Box<dyn Coat>) -> Self {
        Self { coat, buffer: BytesMut::new(), size: 0, sha: Sha256::new() }
    }

    /// Adds the next bytes of the file.
    pub fn add(&mut self, bytes: &[u8]) {
        self.coated(|coat, stored| coat.add(bytes, stored));
    }

    /// Takes what fills whole parts; at least one byte is left for the last one. `size`: that of the first of them (1), the second …
    pub fn full_parts(&mut self, size: impl Fn(u32) -> usize) -> Vec<Bytes> {
        let mut parts = Vec::new();
        if self.buffer.len() <= size(1) {
            return parts;
        }
        let mut whole = std::mem::take(&mut self.buffer).freeze();
        for n in 1.. {
            if whole.len() <= size(n) {
                break;
            }
            parts.push(whole.split_to(size(n)));
        }
        // Copied: a slice would keep the whole allocation alive.
        self.buffer.extend_from_slice(&whole);
        parts
    }

    /// The file has ended: its entry in the manifest, and what was not sent yet.
    pub fn end(mut self, path: &str) -> (File, Bytes) {
        self.coated(|coat, stored| coat.end(stored));
        let file = File { path: path.into(), size: self.size, sha256: hex::encode(self.sha.finalize()), members: None };
        (file, self.buffer.freeze())
    }

    fn coated(&mut self, put: impl FnOnce(&mut dyn Coat, &mut BytesMut)) {
        let from = self.buffer.len();
        put(&mut *self.coat, &mut self.buffer);
        self.sha.update(&self.buffer[from..]);
        self.size += (self.buffer.len() - from) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::LocalStore;

    /// Stands in for an encryption: other bytes, more of them, and a mark at the end.
    struct Doubled;

    impl Coat for Doubled {
        fn add(&mut self, bytes: &[u8], stored: &mut BytesMut) {
            bytes.iter().for_each(|b| stored.extend_from_slice(&[*b, !*b]));
        }

        fn end(&mut self, stored: &mut BytesMut) {
            stored.extend_from_slice(b"end");
        }
    }

    #[test]
    fn what_is_counted_and_hashed_are_the_stored_bytes() {
        let mut file = FileInTheMaking::new(Box::new(Doubled));
        file.add(b"a");
        file.add(b"b");
        assert!(file.full_parts(|_| 4).is_empty(), "the last part must not be empty");
        let parts = file.full_parts(|n| n as usize);
        assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [1, 2]);
        let (file, rest) = file.end("x");
        let stored = [&parts.concat(), &rest[..]].concat();
        assert_eq!(stored, [b'a', !b'a', b'b', !b'b', b'e', b'n', b'd']);
        assert_eq!((file.size, file.sha256), (7, hex::encode(Sha256::digest(&stored))));
    }

    #[tokio::test]
    async fn files_of_any_size_come_back_as_they_were() {
        let place = tempfile::tempdir().expect("has a folder");
        let store = Arc::new(LocalStore::open(&place.path().join("store")).await.expect("opens"));
        let folder = Folder::new(store, "app/x/");
        for size in [0, 1, FILE_PART - 1, FILE_PART, 2 * FILE_PART + 7] {
            let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            let from = place.path().join("from");
            std::fs::write(&from, &bytes).expect("is written");
            let file = folder.put_file("archive/1.dat", &from).await.expect("is stored");
            assert_eq!((file.size, file.sha256), (size as u64, hex::encode(Sha256::digest(&bytes))));
            let back = folder.open(&file.path, None).await.expect("is there").bytes().await.expect("is read");
            assert!(back == bytes, "{size}");
        }
        assert!(folder.uri("archive/1.dat").ends_with("/store/app/x/archive/1.dat"));
    }
}
