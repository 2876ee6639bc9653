//! A backup's folder in a destination, and the seam through which its bytes pass.
//!
//! Everything of a backup but its manifest and proof records goes into the store through a [`Folder`] (small files whole, large ones part by
//! part, table files through `dump::sink`), and each of these ways begins it by [`Folder::begin`], which knows what stands between the bytes of
//! the archive and the bytes in the store: nothing ([`Bare`]), or age. What is read comes back through [`Folder::open`].

use super::manifest::{File, Plain};
use crate::{
    archive::pack,
    crypt::{self, Head, Identities, Layout, Opener, SealedFile, Sealing},
    error::{self, Error, Kind, Result},
    progress::{Event, Progress},
    store::{Reader, Store},
};
use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{io::AsyncReadExt, sync::OnceCell};

/// Size of the parts in which local files are sent, in stored bytes.
const FILE_PART: usize = 16 << 20;

/// Bytes of a local file that are read at a time.
const FILE_STEP: usize = 256 << 10;

/// What turns a file's bytes into the bytes that are stored, in their order: one for each file.
///
/// Frames, chunks and their hashes in the manifest are of the file's own bytes; a stored file's size and SHA-256 are of the stored ones.
pub trait Coat: Send {
    /// Adds what the next bytes of the file become.
    ///
    /// # Errors
    /// When they cannot become it.
    fn add(&mut self, bytes: &[u8], stored: &mut BytesMut) -> Result<()>;

    /// Adds what stands behind the last byte.
    ///
    /// # Errors
    /// As [`Coat::add`].
    fn end(&mut self, stored: &mut BytesMut) -> Result<()>;
}

/// Bytes are stored as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bare;

impl Coat for Bare {
    fn add(&mut self, bytes: &[u8], stored: &mut BytesMut) -> Result<()> {
        stored.extend_from_slice(bytes);
        Ok(())
    }

    fn end(&mut self, _stored: &mut BytesMut) -> Result<()> {
        Ok(())
    }
}

impl Coat for SealedFile {
    fn add(&mut self, bytes: &[u8], stored: &mut BytesMut) -> Result<()> {
        SealedFile::add(self, bytes, stored)
    }

    fn end(&mut self, stored: &mut BytesMut) -> Result<()> {
        SealedFile::end(self, stored)
    }
}

/// The head of a file, once it was read.
type KeptHead = Arc<OnceCell<Arc<Head>>>;

/// A backup's folder in a destination.
#[derive(Clone)]
pub struct Folder {
    store: Arc<dyn Store>,
    prefix: String,
    told: Option<Arc<dyn Progress>>,
    /// Encrypts what is written.
    sealing: Option<Arc<Sealing>>,
    /// Opens what is read.
    keys: Option<Identities>,
    /// The heads of encrypted files of which ranges are read, by their paths.
    heads: Arc<Mutex<HashMap<String, KeptHead>>>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({})", self.uri(""))
    }
}

impl Folder {
    /// The folder `<database>/<YYYY>/<MM>/<DD>/<id>/`, with a slash at its end, of a store.
    pub fn new(store: Arc<dyn Store>, prefix: impl Into<String>) -> Folder {
        Folder { store, prefix: prefix.into(), told: None, sealing: None, keys: None, heads: Arc::default() }
    }

    /// The same; what is written is encrypted, and opened again by the run's own key.
    #[must_use]
    pub fn sealed(self, sealing: Option<Arc<Sealing>>) -> Folder {
        let keys = sealing.as_ref().map(|sealing| sealing.key().clone());
        Folder { sealing, keys, ..self }
    }

    /// The same; what is encrypted is opened by these keys.
    #[must_use]
    pub fn opened_by(self, keys: Option<Identities>) -> Folder {
        Folder { keys, ..self }
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

    /// Begins a file.
    pub fn begin(&self, path: &str) -> FileInTheMaking {
        match &self.sealing {
            None => FileInTheMaking::new(path.to_owned(), Box::new(Bare), None),
            Some(sealing) => {
                let plain = (0, Sha256::new(), Some(BytesMut::new()));
                FileInTheMaking::new(format!("{path}{}", crypt::SUFFIX), Box::new(sealing.file()), Some(plain))
            }
        }
    }

    /// Whether what is encrypted can be opened.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Reads a file as it is stored.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn raw(&self, file: &File, range: Option<Range<u64>>) -> Result<Reader> {
        self.store.open(&self.key(&file.path), range).await
    }

    /// What turns the stored bytes of a file into its own; `None` where they are the same, or no key is at hand.
    pub fn opener(&self, file: &File) -> Option<Opener> {
        file.plain.as_ref()?;
        Some(Opener::new(&file.path, self.keys.as_ref()?, true))
    }

    /// Reads a file, or a range of its bytes. The size that the reader names is that of what is stored.
    ///
    /// # Errors
    /// As [`Store::open`]; [`Kind::Archive`], also from the stream, when what is encrypted was changed.
    pub async fn open(&self, file: &File, range: Option<Range<u64>>) -> Result<Reader> {
        let Some(plain) = &file.plain else { return self.raw(file, range).await };
        let Some(range) = range else {
            let opener = Opener::new(&file.path, self.keys(file)?, true);
            return Ok(opened(self.raw(file, None).await?, opener, 0, plain.size));
        };
        let span = Layout::new(file.size, plain.size).and_then(|layout| Some((layout, layout.span(range)?)));
        let (layout, span) = span.ok_or_else(|| {
            Error::new(
                Kind::Archive,
                format!("stored file {}: the manifest names bytes that it cannot have", file.path),
            )
        })?;
        if span.chunk == 0 {
            // The header stands right before: no request of its own.
            let opener = Opener::new(&file.path, self.keys(file)?, span.ends);
            return Ok(opened(self.raw(file, Some(0..span.stored.end)).await?, opener, span.skip, span.length));
        }
        let head = self.head(file, &layout).await?;
        let opener = Opener::at(&file.path, self.keys(file)?, head, span.chunk, span.ends)?;
        Ok(opened(self.raw(file, Some(span.stored)).await?, opener, span.skip, span.length))
    }

    fn keys(&self, file: &File) -> Result<&Identities> {
        self.keys.as_ref().ok_or_else(|| no_identity(&format!("stored file {}", file.path)))
    }

    /// The head of an encrypted file, which is read once.
    async fn head(&self, file: &File, layout: &Layout) -> Result<Arc<Head>> {
        let head = {
            let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
            heads.entry(file.path.clone()).or_default().clone()
        };
        let read = async {
            let bytes = self.raw(file, Some(0..layout.head())).await?.bytes().await?;
            Ok(Arc::new(Head::open(&file.path, self.keys(file)?, bytes)?))
        };
        head.get_or_try_init(|| read).await.cloned()
    }

    /// Stores a small file in one request.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<File> {
        let mut file = self.begin(path);
        file.add(&bytes)?;
        let (file, body) = file.end()?;
        self.store.put(&self.key(&file.path), body).await?;
        Ok(file)
    }

    /// Stores a local file of any size with one part of it in memory.
    ///
    /// # Errors
    /// When it cannot be read or stored. An upload that was begun is aborted by whoever cleans up behind the run.
    pub async fn put_file(&self, path: &str, from: &Path) -> Result<File> {
        let failed = || error::io(format!("cannot read {}", from.display()));
        let mut input = tokio::fs::File::open(from).await.map_err(failed())?;
        let mut file = self.begin(path);
        let (mut sent, mut number, mut upload) = (0, 0, None);
        let mut step = vec![0; FILE_STEP];
        loop {
            let read = input.read(&mut step).await.map_err(failed())?;
            file.add(&step[..read])?;
            if read == 0 {
                break;
            }
            for part in file.full_parts(|_| FILE_PART) {
                let upload = match &mut upload {
                    Some(upload) => upload,
                    none => none.insert(self.store.create_upload(&self.key(file.path())).await?),
                };
                number += 1;
                let offset = sent;
                sent += part.len() as u64;
                upload.put_part(number, offset, part).await?;
            }
        }
        let (file, rest) = file.end()?;
        match upload {
            None => self.store.put(&self.key(&file.path), rest).await?,
            Some(upload) => {
                upload.put_part(number + 1, sent, rest).await?;
                upload.complete().await?;
            }
        }
        Ok(file)
    }
}

/// The error for a backup, or a file of one, that is encrypted where nobody gave a key.
pub fn no_identity(what: &str) -> Error {
    Error::new(Kind::Refused, format!("{what} is encrypted, and no identity was given")).hint(
        "give a private key: --identity FILE, or the key itself by the variable SAVEPOINT_IDENTITY; savepoint show names its recipients",
    )
}

/// The bytes of the file, `length` of them behind `skip`, from those that are stored.
fn opened(reader: Reader, opener: Opener, skip: u64, length: u64) -> Reader {
    let Reader { size, stream } = reader;
    let begun = (stream, Some(opener), skip, length);
    let stream = stream::try_unfold(begun, |(mut stored, mut opener, mut skip, mut left)| async move {
        let mut plain = BytesMut::new();
        while let Some(open) = &mut opener {
            match stored.try_next().await? {
                Some(bytes) => open.feed(&bytes, &mut plain)?,
                None => {
                    if let Some(open) = opener.take() {
                        open.end(&mut plain)?;
                    }
                }
            }
            let skipped = skip.min(plain.len() as u64);
            let _ = plain.split_to(skipped as usize);
            skip -= skipped;
            plain.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= plain.len() as u64;
            if !plain.is_empty() {
                return Ok(Some((plain.freeze(), (stored, opener, skip, left))));
            }
        }
        Ok::<_, Error>(None)
    });
    Reader { size, stream: Box::pin(stream) }
}

/// The stored bytes of a file, counted and hashed, as far as they were not sent yet.
pub struct FileInTheMaking {
    path: String,
    coat: Box<dyn Coat>,
    buffer: BytesMut,
    size: u64,
    sha: Sha256,
    /// Where the file's own bytes are others: their number and hash, and all of them while they are so few that they may come to lie in a
    /// pack, which is encrypted as a whole.
    plain: Option<(u64, Sha256, Option<BytesMut>)>,
}

impl FileInTheMaking {
    fn new(path: String, coat: Box<dyn Coat>, plain: Option<(u64, Sha256, Option<BytesMut>)>) -> Self {
        Self { path, coat, buffer: BytesMut::new(), size: 0, sha: Sha256::new(), plain }
    }

    /// Below the backup's folder.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Adds the next bytes of the file.
    ///
    /// # Errors
    /// When they cannot be encrypted.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let Some((size, sha, held)) = &mut self.plain else {
            return self.coated(|coat, stored| coat.add(bytes, stored));
        };
        *size += bytes.len() as u64;
        sha.update(bytes);
        let Some(small) = held else { return self.coated(|coat, stored| coat.add(bytes, stored)) };
        small.extend_from_slice(bytes);
        if *size > pack::SMALL {
            let small = held.take().unwrap_or_default();
            return self.coated(|coat, stored| coat.add(&small, stored));
        }
        Ok(())
    }

    /// Bytes that were not sent yet.
    pub fn waiting(&self) -> usize {
        let held = self.plain.as_ref().and_then(|(.., held)| held.as_ref());
        self.buffer.len() + held.map_or(0, BytesMut::len)
    }

    /// Whether the file, of which nothing was sent, is so small that it may lie in a pack.
    pub fn is_small(&self) -> bool {
        match &self.plain {
            Some((.., held)) => held.is_some(),
            None => self.buffer.len() as u64 <= pack::SMALL,
        }
    }

    /// All bytes of a small file itself.
    pub fn into_bytes(self) -> Bytes {
        let held = self.plain.and_then(|(.., held)| held);
        held.unwrap_or(self.buffer).freeze()
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
    ///
    /// # Errors
    /// As [`FileInTheMaking::add`].
    pub fn end(mut self) -> Result<(File, Bytes)> {
        if let Some(small) = self.plain.as_mut().and_then(|(.., held)| held.take()) {
            self.coated(|coat, stored| coat.add(&small, stored))?;
        }
        self.coated(|coat, stored| coat.end(stored))?;
        let plain = self.plain.map(|(size, sha, _)| Plain { size, sha256: hex::encode(sha.finalize()) });
        let sha256 = hex::encode(self.sha.finalize());
        let file = File { path: self.path, size: self.size, sha256, plain, members: None };
        Ok((file, self.buffer.freeze()))
    }

    fn coated(&mut self, put: impl FnOnce(&mut dyn Coat, &mut BytesMut) -> Result<()>) -> Result<()> {
        let from = self.buffer.len();
        put(&mut *self.coat, &mut self.buffer)?;
        self.sha.update(&self.buffer[from..]);
        self.size += (self.buffer.len() - from) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::LocalStore;

    /// Stands in for an encryption: other bytes, more of them, and a mark at the end.
    struct Doubled;

    impl Coat for Doubled {
        fn add(&mut self, bytes: &[u8], stored: &mut BytesMut) -> Result<()> {
            bytes.iter().for_each(|b| stored.extend_from_slice(&[*b, !*b]));
            Ok(())
        }

        fn end(&mut self, stored: &mut BytesMut) -> Result<()> {
            stored.extend_from_slice(b"end");
            Ok(())
        }
    }

    #[test]
    fn what_is_counted_and_hashed_are_the_stored_bytes() {
        let mut file = FileInTheMaking::new("x".into(), Box::new(Doubled), None);
        file.add(b"a").expect("is taken");
        file.add(b"b").expect("is taken");
        assert!(file.full_parts(|_| 4).is_empty(), "the last part must not be empty");
        let parts = file.full_parts(|n| n as usize);
        assert_eq!(parts.iter().map(Bytes::len).collect::<Vec<_>>(), [1, 2]);
        let (file, rest) = file.end().expect("has ended");
        let stored = [&parts.concat(), &rest[..]].concat();
        assert_eq!(stored, [b'a', !b'a', b'b', !b'b', b'e', b'n', b'd']);
        assert_eq!((file.size, file.sha256), (7, hex::encode(Sha256::digest(&stored))));
    }

    #[tokio::test]
    async fn files_of_any_size_come_back_as_they_were() {
        let place = tempfile::tempdir().expect("has a folder");
        let store = Arc::new(LocalStore::open(&place.path().join("store")).await.expect("opens"));
        let key = age::x25519::Identity::generate().to_public().to_string();
        let recipients = crate::crypt::Recipients::parse([key.as_str()]).expect("is a key");
        let sealing = Some(Sealing::new(recipients).expect("encrypts"));
        for (folder, suffix) in
            [(Folder::new(store.clone(), "app/x/"), ""), (Folder::new(store, "app/y/").sealed(sealing), crypt::SUFFIX)]
        {
            for size in [0, 1, 70_000, FILE_PART - 1, FILE_PART, 2 * FILE_PART + 7] {
                let bytes: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
                let from = place.path().join("from");
                std::fs::write(&from, &bytes).expect("is written");
                let file = folder.put_file(&format!("archive/{size}.dat"), &from).await.expect("is stored");
                assert_eq!(file.path, format!("archive/{size}.dat{suffix}"));
                let sha256 = hex::encode(Sha256::digest(&bytes));
                let of_file = file.plain.clone().unwrap_or(Plain { size: file.size, sha256: file.sha256.clone() });
                assert_eq!(of_file, Plain { size: size as u64, sha256 });
                let stored = folder.raw(&file, None).await.expect("is there").bytes().await.expect("is read");
                assert_eq!(
                    (stored.len() as u64, hex::encode(Sha256::digest(&stored))),
                    (file.size, file.sha256.clone())
                );
                let back = folder.open(&file, None).await.expect("is there").bytes().await.expect("is read");
                assert!(back == bytes, "{size}");
                for range in [0..1, 5..70_000, 65_536..131_072, 1_000_000..FILE_PART, size / 2..size] {
                    if range.start < range.end && range.end <= size {
                        let wanted = range.start as u64..range.end as u64;
                        let reader = folder.open(&file, Some(wanted)).await.expect("is there");
                        assert_eq!(reader.size, file.size);
                        assert!(reader.bytes().await.expect("is read") == bytes[range.clone()], "{size} {range:?}");
                    }
                }
            }
        }
    }
}
