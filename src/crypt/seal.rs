//! Encrypting what a run stores.

use super::{Identities, Recipients, open::open_all};
use crate::error::{Error, Kind, Result};
use age::stream::StreamWriter;
use bytes::BytesMut;
use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// What encrypts the files of one run: to the recipients, and to a key of the run's own that exists in its memory alone, so that what was
/// stored can be proven without anybody's private key.
pub struct Sealing {
    recipients: Recipients,
    run: age::x25519::Recipient,
    opens: Identities,
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealing({:?})", self.recipients)
    }
}

fn failed(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Io, "cannot encrypt").because(e)
}

impl Sealing {
    /// Makes the run's key, and tries all of them on a few bytes.
    ///
    /// # Errors
    /// When one of the recipients cannot be encrypted to.
    pub fn new(recipients: Recipients) -> Result<Arc<Sealing>> {
        let key = age::x25519::Identity::generate();
        let sealing = Arc::new(Sealing { recipients, run: key.to_public(), opens: Identities::of_run(key) });
        const TRIED: &[u8] = b"can this be read again";
        let (mut file, mut stored) = (sealing.file(), BytesMut::new());
        file.add(TRIED, &mut stored)?;
        file.end(&mut stored)?;
        match open_all("a trial", &sealing.opens, &stored)? == TRIED {
            true => Ok(sealing),
            false => Err(Error::new(Kind::Bug, "what was encrypted does not come back")),
        }
    }

    /// The run's own key.
    pub fn key(&self) -> &Identities {
        &self.opens
    }

    /// Who else can open what is encrypted.
    pub fn recipients(&self) -> &Recipients {
        &self.recipients
    }

    /// A new file.
    pub fn file(self: &Arc<Self>) -> SealedFile {
        SealedFile { sealing: self.clone(), spill: Spill::default(), writer: None }
    }

    fn begin(&self, spill: Spill) -> Result<StreamWriter<Spill>> {
        let run: &dyn age::Recipient = &self.run;
        let encryptor = age::Encryptor::with_recipients(self.recipients.keys().chain([run])).map_err(failed)?;
        encryptor.wrap_output(spill).map_err(failed)
    }
}

/// A file that is encrypted while it is written.
pub struct SealedFile {
    sealing: Arc<Sealing>,
    /// What has left the library and was not handed on.
    spill: Spill,
    /// `None` before the first byte: a header is the costly part of a small file, and some files come to lie in another one.
    writer: Option<StreamWriter<Spill>>,
}

impl SealedFile {
    /// Adds to `stored` what the next bytes of the file become.
    ///
    /// # Errors
    /// When a recipient cannot be encrypted to.
    pub fn add(&mut self, bytes: &[u8], stored: &mut BytesMut) -> Result<()> {
        self.writer()?.write_all(bytes).map_err(failed)?;
        self.spill.hand_on(stored);
        Ok(())
    }

    /// Adds the last chunk.
    ///
    /// # Errors
    /// As [`SealedFile::add`].
    pub fn end(&mut self, stored: &mut BytesMut) -> Result<()> {
        self.writer()?;
        if let Some(writer) = self.writer.take() {
            writer.finish().map_err(failed)?;
        }
        self.spill.hand_on(stored);
        Ok(())
    }

    fn writer(&mut self) -> Result<&mut StreamWriter<Spill>> {
        Ok(match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(self.sealing.begin(self.spill.clone())?),
        })
    }
}

/// The library keeps its writer to itself until the end; this one can be emptied meanwhile.
#[derive(Clone, Default)]
struct Spill(Arc<Mutex<Vec<u8>>>);

impl Spill {
    fn hand_on(&self, to: &mut BytesMut) {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        to.extend_from_slice(&bytes);
        bytes.clear();
    }
}

impl Write for Spill {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
