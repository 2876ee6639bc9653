//! Frames: independent gzip members, zstd frames or runs of plain text that begin and end at a row.

use crate::{
    config::Compression,
    error::{Error, Kind, Result},
};
use bytes::Bytes;
use flate2::{
    bufread::MultiGzDecoder,
    write::{GzEncoder, MultiGzDecoder as MultiGzWriter},
};
use std::{
    io::{Cursor, Read, Write},
    sync::{Mutex, PoisonError},
};

/// A frame is closed once it holds this many compressed bytes: what a worker keeps in memory.
pub const FRAME_BYTES: usize = 4 << 20;

/// What stands at the very end of a data file, exactly once: COPY's end marker and the blank lines that pg_dump writes
/// (pg_dump.c, `dumpTableData_copy`).
pub const TERMINATOR: &[u8] = b"\\.\n\n\n";

impl Compression {
    /// What is appended to `.dat`.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip(_) => ".gz",
            Compression::Zstd(_) => ".zst",
        }
    }

    /// From a data file's name.
    pub fn of_file(name: &str) -> Compression {
        match name.rsplit_once('.').map(|(_, e)| e) {
            Some("gz") => Compression::Gzip(0),
            Some("zst") => Compression::Zstd(0),
            _ => Compression::None,
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Gzip(level) => write!(f, "gzip:{level}"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// Compresses rows into one frame after the other.
pub struct FrameWriter {
    compression: Compression,
    encoder: Option<Encoder>,
}

enum Encoder {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

fn failed(e: std::io::Error) -> Error {
    Error::new(Kind::Io, "cannot compress rows").because(e)
}

impl FrameWriter {
    /// A writer without an open frame.
    pub fn new(compression: Compression) -> Self {
        Self { compression, encoder: None }
    }

    /// Adds whole rows to the open frame, or opens one.
    pub fn write(&mut self, rows: &[u8]) -> Result<()> {
        let encoder = match &mut self.encoder {
            Some(open) => open,
            none => none.insert(Encoder::new(self.compression)?),
        };
        match encoder {
            Encoder::None(out) => out.extend_from_slice(rows),
            Encoder::Gzip(out) => out.write_all(rows).map_err(failed)?,
            Encoder::Zstd(out) => out.write_all(rows).map_err(failed)?,
        }
        Ok(())
    }

    /// Compressed bytes of the open frame so far.
    pub fn len(&self) -> usize {
        match &self.encoder {
            None => 0,
            Some(Encoder::None(out)) => out.len(),
            Some(Encoder::Gzip(out)) => out.get_ref().len(),
            Some(Encoder::Zstd(out)) => out.get_ref().len(),
        }
    }

    /// True when no frame is open or nothing has left the compressor yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what has left the compressor; the frame stays open.
    pub fn drain(&mut self) -> Vec<u8> {
        match &mut self.encoder {
            None => Vec::new(),
            Some(Encoder::None(out)) => std::mem::take(out),
            Some(Encoder::Gzip(out)) => std::mem::take(out.get_mut()),
            Some(Encoder::Zstd(out)) => std::mem::take(out.get_mut()),
        }
    }

    /// Closes the open frame; `None` when there is none.
    pub fn finish(&mut self) -> Result<Option<Vec<u8>>> {
        Ok(match self.encoder.take() {
            None => None,
            Some(Encoder::None(out)) => Some(out),
            Some(Encoder::Gzip(out)) => Some(out.finish().map_err(failed)?),
            Some(Encoder::Zstd(out)) => Some(out.finish().map_err(failed)?),
        })
    }
}

impl Encoder {
    fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => Encoder::None(Vec::new()),
            Compression::Gzip(level) => Encoder::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::new(level))),
            Compression::Zstd(level) => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level).map_err(failed)?;
                // zstd leaves it out by default; with it, plain pg_restore notices a flipped bit as well.
                encoder.include_checksum(true).map_err(failed)?;
                Encoder::Zstd(encoder)
            }
        })
    }
}

/// The end of a data file as a frame of its own.
pub fn terminator(compression: Compression) -> Result<Bytes> {
    // A compressor of its own costs more than the rows of a tiny table, and the bytes are always the same.
    static MADE: Mutex<Vec<(Compression, Bytes)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, bytes)) = made.iter().find(|(c, _)| *c == compression) {
        return Ok(bytes.clone());
    }
    let mut writer = FrameWriter::new(compression);
    writer.write(TERMINATOR)?;
    let bytes = Bytes::from(writer.finish()?.unwrap_or_default());
    made.push((compression, bytes.clone()));
    Ok(bytes)
}

/// The text of one whole frame (or of several in a row), decompressed as it is read. A cut or damaged frame is an error
/// of the reader.
pub fn open_frame(compression: Compression, frame: Bytes) -> Result<Box<dyn Read + Send>> {
    let frame = Cursor::new(frame);
    Ok(match compression {
        Compression::None => Box::new(frame),
        Compression::Gzip(_) => Box::new(MultiGzDecoder::new(frame)),
        Compression::Zstd(_) => Box::new(zstd::stream::read::Decoder::with_buffer(frame).map_err(damaged)?),
    })
}

/// The text of a frame that comes in pieces.
pub enum FrameReader {
    /// Not compressed.
    None,
    /// gzip.
    Gzip(Box<MultiGzWriter<Vec<u8>>>),
    /// zstd.
    Zstd(zstd::stream::write::Decoder<'static, Vec<u8>>),
}

impl FrameReader {
    /// A reader at the beginning of a frame.
    pub fn new(compression: Compression) -> Result<Self> {
        Ok(match compression {
            Compression::None => FrameReader::None,
            Compression::Gzip(_) => FrameReader::Gzip(Box::new(MultiGzWriter::new(Vec::new()))),
            Compression::Zstd(_) => FrameReader::Zstd(zstd::stream::write::Decoder::new(Vec::new()).map_err(damaged)?),
        })
    }

    /// Takes some bytes of the frame and returns the text that they complete.
    pub fn text(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(match self {
            FrameReader::None => bytes.to_vec(),
            FrameReader::Gzip(out) => {
                out.write_all(bytes).and_then(|()| out.flush()).map_err(damaged)?;
                std::mem::take(out.get_mut())
            }
            FrameReader::Zstd(out) => {
                out.write_all(bytes).and_then(|()| out.flush()).map_err(damaged)?;
                std::mem::take(out.get_mut())
            }
        })
    }
}

/// A stored frame that does not decompress.
pub fn damaged(e: std::io::Error) -> Error {
    Error::new(Kind::Archive, "a stored frame cannot be decompressed").because(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(compression: Compression, frame: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut text = Vec::new();
        open_frame(compression, Bytes::copy_from_slice(frame)).unwrap().read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn frames_are_independent_and_any_order_decompresses() {
        for compression in [Compression::None, Compression::Gzip(4), Compression::Zstd(2)] {
            let mut writer = FrameWriter::new(compression);
            let mut frames = Vec::new();
            for text in ["1\ta\n2\tb\n", "3\tc\n"] {
                writer.write(text.as_bytes()).unwrap();
                frames.push(writer.finish().unwrap().unwrap());
            }
            assert!(writer.finish().unwrap().is_none());
            assert_eq!(read(compression, &frames[1]).unwrap(), b"3\tc\n");
            let mut reader = FrameReader::new(compression).unwrap();
            let pieces = frames[0].chunks(3).map(|b| reader.text(b).unwrap());
            assert_eq!(pieces.collect::<Vec<_>>().concat(), b"1\ta\n2\tb\n", "{compression} in pieces");
            let file = [frames[1].as_slice(), &frames[0], &terminator(compression).unwrap()].concat();
            assert_eq!(read(compression, &file).unwrap(), b"3\tc\n1\ta\n2\tb\n\\.\n\n\n");
        }
    }

    #[test]
    fn a_cut_or_flipped_frame_is_an_error() {
        for compression in [Compression::Gzip(4), Compression::Zstd(2)] {
            let mut writer = FrameWriter::new(compression);
            writer.write(&b"some row\n".repeat(1000)).unwrap();
            let frame = writer.finish().unwrap().unwrap();
            assert!(read(compression, &frame[..frame.len() - 3]).is_err(), "{compression} cut");
            let mut flipped = frame.clone();
            let at = flipped.len() - 2;
            flipped[at] ^= 1;
            assert!(read(compression, &flipped).is_err(), "{compression} flipped");
        }
    }
}
