//! Decrypting what was stored: whole files and ranges of them, as their bytes come.

use super::{
    identities::Identities,
    layout::{CHUNK, MOST_HEADER, NONCE, SEALED},
};
use crate::error::{Error, Kind, Result};
use age::{DecryptError, Decryptor, secrecy::ExposeSecret, stream::StreamReader};
use age_core::format::{FileKey, Stanza};
use bytes::{Buf, Bytes, BytesMut};
use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::{Arc, Mutex, PoisonError},
};

/// The line that ends a header begins so.
const LAST_LINE: &[u8] = b"\n--- ";

/// What stands in front of the chunks of a file, and the key that it holds: with both, any range of the file can be read.
pub struct Head {
    /// Header and nonce.
    bytes: Bytes,
    key: FileKey,
}

impl Head {
    /// Opens the head of a file, which is named `name` for people.
    ///
    /// # Errors
    /// [`Kind::Archive`] when it is none, or one that was changed; [`Kind::Refused`] when none of the keys is one of its recipients'.
    pub fn open(name: &str, keys: &Identities, bytes: Bytes) -> Result<Head> {
        let caught = Caught { keys, key: Mutex::default() };
        decrypt(name, keys, &bytes[..], &caught)?;
        let key = caught.key.into_inner().unwrap_or_else(PoisonError::into_inner);
        let key = key.ok_or_else(|| damaged(name, "its header holds no key"))?;
        Ok(Head { bytes, key })
    }
}

fn damaged(name: &str, what: &str) -> Error {
    Error::new(Kind::Archive, format!("stored file {name}: {what}"))
}

fn decrypt<R: Read>(name: &str, keys: &Identities, input: R, by: &dyn age::Identity) -> Result<StreamReader<R>> {
    let opened = Decryptor::new(input).and_then(|decryptor| decryptor.decrypt(std::iter::once(by)));
    opened.map_err(|e| match e {
        DecryptError::NoMatchingKeys if keys.may_be_wrong() => {
            Error::new(Kind::Refused, format!("stored file {name}: the identity does not open it"))
                .hint("give the private key of one of the backup's recipients by --identity; savepoint show names them")
        }
        e => damaged(name, "it cannot be decrypted").because(e),
    })
}

/// Keeps the key of a file that somebody's private key opens.
struct Caught<'a> {
    keys: &'a Identities,
    key: Mutex<Option<FileKey>>,
}

impl age::Identity for Caught<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        let opened = self.keys.unwrap_stanza(stanza)?;
        Some(opened.inspect(|key| {
            *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy(key));
        }))
    }
}

/// A key that is known already. The header's sum, which is made with it, is checked all the same.
struct Known<'a>(&'a FileKey);

impl age::Identity for Known<'_> {
    fn unwrap_stanza(&self, _stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        Some(Ok(copy(self.0)))
    }
}

fn copy(key: &FileKey) -> FileKey {
    FileKey::new(Box::new(*key.expose_secret()))
}

/// Decrypts a file, or chunks of it that follow each other, as their bytes come. Whatever it hands out is what was encrypted, in its place.
pub struct Opener {
    name: String,
    keys: Identities,
    state: State,
    /// Bytes that do not make up a whole chunk yet.
    pending: BytesMut,
    /// The number of the first chunk that comes; `None`: the file from its first byte to its last, or to where `head` is asked for.
    from: u64,
    /// The end of the file is among what comes.
    ends: bool,
}

enum State {
    /// The header is not whole yet.
    Head,
    Body(Arc<Head>, StreamReader<Feed>, Feed),
}

impl Opener {
    /// Of a file from its first byte. `ends`: what comes is all of it, and not only its first chunks.
    pub fn new(name: &str, keys: &Identities, ends: bool) -> Opener {
        let (name, keys) = (name.to_owned(), keys.clone());
        Opener { name, keys, state: State::Head, pending: BytesMut::new(), from: 0, ends }
    }

    /// Of chunks of a file from number `chunk` on. `ends`: the last chunk of the file is among them.
    ///
    /// # Errors
    /// When the head does not go with its key.
    pub fn at(name: &str, keys: &Identities, head: Arc<Head>, chunk: u64, ends: bool) -> Result<Opener> {
        let mut opener = Opener { from: chunk, ..Opener::new(name, keys, ends) };
        opener.state = opener.body(head)?;
        Ok(opener)
    }

    /// The head, once it was read.
    pub fn head(&self) -> Option<&Arc<Head>> {
        match &self.state {
            State::Head => None,
            State::Body(head, ..) => Some(head),
        }
    }

    /// Takes the next bytes of the age file, and adds to `plain` what they complete of the file.
    ///
    /// # Errors
    /// [`Kind::Archive`] when they are not what was encrypted; as [`Head::open`].
    pub fn feed(&mut self, bytes: &[u8], plain: &mut BytesMut) -> Result<()> {
        self.pending.extend_from_slice(bytes);
        if matches!(self.state, State::Head) {
            let Some(head) = self.take_head()? else { return Ok(()) };
            let head = Arc::new(Head::open(&self.name, &self.keys, head)?);
            self.state = self.body(head)?;
        }
        while self.pending.len() as u64 >= SEALED {
            let chunk = self.pending.split_to(SEALED as usize);
            self.chunk(chunk.freeze(), plain)?;
        }
        Ok(())
    }

    /// The same; what they complete.
    ///
    /// # Errors
    /// As [`Opener::feed`].
    pub fn feed_all(&mut self, bytes: &[u8]) -> Result<Bytes> {
        let mut plain = BytesMut::new();
        self.feed(bytes, &mut plain)?;
        Ok(plain.freeze())
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// [`Kind::Archive`] when they end too early.
    pub fn end(mut self, plain: &mut BytesMut) -> Result<()> {
        let rest = self.pending.split().freeze();
        if !rest.is_empty() && !matches!(self.state, State::Head) {
            self.chunk(rest, plain)?;
        }
        let State::Body(_, reader, _) = &mut self.state else {
            return Err(damaged(&self.name, "its header is cut off"));
        };
        if self.ends {
            // Nothing comes any more: an error unless the last chunk was there.
            let read = reader.read(&mut [0]).map_err(|e| damaged(&self.name, "it is cut off").because(e))?;
            debug_assert_eq!(read, 0, "all of a chunk is read at once");
        }
        Ok(())
    }

    /// The bytes of header and nonce, once they are there.
    fn take_head(&mut self) -> Result<Option<Bytes>> {
        let bytes = &self.pending[..];
        let last = bytes.windows(LAST_LINE.len()).position(|w| w == LAST_LINE).map(|at| at + LAST_LINE.len());
        let end = last.and_then(|at| bytes[at..].iter().position(|b| *b == b'\n').map(|n| at + n + 1 + NONCE as usize));
        match end {
            Some(end) if bytes.len() >= end => Ok(Some(self.pending.split_to(end).freeze())),
            _ if bytes.len() as u64 > MOST_HEADER => Err(damaged(&self.name, "it is no age file")),
            _ => Ok(None),
        }
    }

    fn body(&self, head: Arc<Head>) -> Result<State> {
        let feed = Feed::default();
        feed.give(head.bytes.clone());
        let reader = decrypt(&self.name, &self.keys, feed.clone(), &Known(&head.key))?;
        Ok(State::Body(head, reader, feed))
    }

    /// Decrypts one chunk. The library reads a whole one at a time and holds it against its number.
    fn chunk(&mut self, chunk: Bytes, plain: &mut BytesMut) -> Result<()> {
        let State::Body(_, reader, feed) = &mut self.state else { return Ok(()) };
        feed.give(chunk);
        let mut read = || -> io::Result<()> {
            if let from @ 1.. = std::mem::take(&mut self.from) {
                // At the very edge of a chunk the library asks for the end of the file, which is not here; within the chunk it does not.
                reader.seek(SeekFrom::Start(from * CHUNK + 1))?;
                reader.seek(SeekFrom::Start(from * CHUNK))?;
            }
            let at = plain.len();
            plain.resize(at + CHUNK as usize, 0);
            let read = reader.read(&mut plain[at..]);
            plain.truncate(at + read.as_ref().copied().unwrap_or_default());
            read.map(drop)
        };
        read().map_err(|e| damaged(&self.name, "its bytes are not what was encrypted").because(e))
    }
}

/// The whole of a small file.
pub(super) fn open_all(name: &str, keys: &Identities, stored: &[u8]) -> Result<BytesMut> {
    let (mut opener, mut plain) = (Opener::new(name, keys, true), BytesMut::new());
    opener.feed(stored, &mut plain)?;
    opener.end(&mut plain)?;
    Ok(plain)
}

/// The age file, as the library sees it: it finds what was given last, wherever it looks for it.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<(Bytes, u64)>>);

impl Feed {
    fn give(&self, bytes: Bytes) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = bytes;
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut feed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let n = feed.0.len().min(into.len());
        feed.0.copy_to_slice(&mut into[..n]);
        feed.1 += n as u64;
        Ok(n)
    }
}

impl Seek for Feed {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let mut feed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        feed.1 = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => feed.1.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?,
            SeekFrom::End(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(feed.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypt::{Layout, Recipients, Sealing};
    use crate::secret::Secret;

    const C: usize = CHUNK as usize;

    fn sealing() -> Arc<Sealing> {
        let key = age::x25519::Identity::generate();
        Sealing::new(Recipients::parse([key.to_public().to_string().as_str()]).expect("is a key")).expect("encrypts")
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8 ^ (n >> 16) as u8).collect()
    }

    fn sealed(sealing: &Arc<Sealing>, text: &[u8], step: usize) -> BytesMut {
        let (mut file, mut stored) = (sealing.file(), BytesMut::new());
        text.chunks(step).for_each(|bytes| file.add(bytes, &mut stored).expect("encrypts"));
        file.end(&mut stored).expect("ends");
        stored
    }

    fn range(
        keys: &Identities,
        head: &Arc<Head>,
        stored: &[u8],
        plain: usize,
        of: std::ops::Range<usize>,
    ) -> Result<Vec<u8>> {
        let layout = Layout::new(stored.len() as u64, plain as u64).expect("is a file");
        let span = layout.span(of.start as u64..of.end as u64).expect("is there");
        let mut opener = Opener::at("t", keys, head.clone(), span.chunk, span.ends)?;
        let mut read = BytesMut::new();
        for bytes in stored[span.stored.start as usize..span.stored.end as usize].chunks(10_007) {
            opener.feed(bytes, &mut read)?;
        }
        opener.end(&mut read)?;
        Ok(read[span.skip as usize..][..span.length as usize].to_vec())
    }

    #[test]
    fn files_and_ranges_of_them_come_back() {
        let sealing = sealing();
        let keys = sealing.key();
        for length in [0, 1, 100, C - 1, C, C + 1, 2 * C, 3 * C + 5] {
            let text = text(length);
            let stored = sealed(&sealing, &text, 7_919);
            assert!(open_all("t", keys, &stored).expect("opens") == text, "{length}");
            let layout = Layout::new(stored.len() as u64, length as u64).expect("is a file");
            let mut first = Opener::new("t", keys, false);
            first.feed(&stored[..layout.head() as usize], &mut BytesMut::new()).expect("is a head");
            let head = first.head().expect("is whole").clone();
            for of in
                [0..1, 0..length, length / 2..length, C - 1..C + 1, C..C + 1, C..2 * C, 2 * C..3 * C, 3 * C..length]
            {
                if of.start < of.end && of.end <= length {
                    let read = range(keys, &head, &stored, length, of.clone()).expect("opens");
                    assert!(read == text[of.clone()], "{length} {of:?}");
                }
            }
        }
    }

    #[test]
    fn the_users_key_opens_it_and_another_does_not() {
        let (mine, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
        let sealing = Sealing::new(Recipients::parse([mine.to_public().to_string().as_str()]).expect("is a key"));
        let stored = sealed(&sealing.expect("encrypts"), b"rows", 10);
        let opened = |key: &age::x25519::Identity| {
            let key = Secret::new(key.to_string().expose_secret());
            open_all("t", &Identities::parse(&key, "key.txt").expect("is a key"), &stored)
        };
        assert_eq!(&opened(&mine).expect("opens")[..], b"rows");
        let e = opened(&other).expect_err("is another");
        assert!(e.kind() == Kind::Refused && e.message().contains("the identity does not open it"), "{e}");
    }

    #[test]
    fn any_change_is_found() {
        let (sealing, text) = (sealing(), text(3 * C + 5));
        let (keys, stored) = (sealing.key(), sealed(&sealing, &text, text.len()));
        let layout = Layout::new(stored.len() as u64, text.len() as u64).expect("is a file");
        let head = layout.head() as usize;
        let archive = |bytes: &[u8], what: &str| {
            let e = open_all("t", keys, bytes).expect_err(what);
            assert_eq!(e.kind(), Kind::Archive, "{what}: {e}");
        };
        for at in (0..head).step_by(7).chain([head - 1, head, head + C, head + C + 15, stored.len() - 1]) {
            let mut flipped = stored.to_vec();
            flipped[at] ^= 1;
            archive(&flipped, &format!("byte {at}"));
        }
        let chunk = |n: usize| head + n * SEALED as usize;
        for cut in [0, 10, head - 1, head, chunk(1), chunk(2), chunk(3), chunk(3) + 3, stored.len() - 1] {
            archive(&stored[..cut], &format!("cut at {cut}"));
        }
        archive(&[&stored[..], b"x"].concat(), "more behind it");
        let swapped =
            [&stored[..head], &stored[chunk(1)..chunk(2)], &stored[head..chunk(1)], &stored[chunk(2)..]].concat();
        archive(&swapped, "two chunks in each other's place");
        let other = sealed(&sealing, &text, 100);
        archive(&[&stored[..head], &other[head..]].concat(), "another file's chunks");

        // The same in a range, which sees neither header nor end.
        let mut first = Opener::new("t", keys, false);
        first.feed(&stored[..head], &mut BytesMut::new()).expect("is a head");
        let opened = first.head().expect("is whole").clone();
        let of = C + 7..2 * C;
        for bytes in [&swapped[..], &other] {
            assert!(range(keys, &opened, bytes, text.len(), of.clone()).is_err_and(|e| e.kind() == Kind::Archive));
        }
        let mut flipped = stored.to_vec();
        flipped[chunk(1) + 3] ^= 1;
        assert!(range(keys, &opened, &flipped, text.len(), of.clone()).is_err());
        assert!(range(keys, &opened, &flipped, text.len(), 0..C).is_ok(), "another chunk is as it was");
    }
}
