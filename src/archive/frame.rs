//! Frames: runs of gzip members, of zstd frames or of plain text that begin and end at a row.

use crate::{
    archive::{checked::Check, compression::Compression, fingerprint::Fingerprint},
    crypt,
    error::{Error, Kind, Result},
};
use bytes::Bytes;
use flate2::{bufread::MultiGzDecoder, write::MultiGzDecoder as MultiGzWriter};
use std::{
    io::{Cursor, Read, Write},
    sync::{Mutex, PoisonError},
};

/// A frame is closed once it holds so many compressed bytes: what a worker keeps in memory. Small ones reach the store sooner and in an
/// even stream, large ones keep the manifest of a large table short.
pub const FRAME_BYTES: usize = 1 << 20;
/// See [`FRAME_BYTES`]; what a huge row has made is written out at so many bytes.
pub const MOST_FRAME_BYTES: usize = 4 << 20;

pub use super::TERMINATOR;

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
        match crypt::bare(name).rsplit_once('.').map(|(_, e)| e) {
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

/// Compresses rows into one frame after the other. What it needs for that it keeps from frame to frame.
///
/// Text is compressed in blocks, each in one go and each a gzip member or zstd frame of its own. zstd's streams copy the
/// text into a ring, whose seam makes it take a path (`extDict`) that needs half as much time again; libdeflate, which
/// is faster than zlib at the same size, has no streams. Blocks cost less than 1 % of the size where rows differ, and about
/// a quarter on text that compresses a hundredfold.
pub struct FrameWriter {
    codec: Codec,
    /// Bytes of text in a block.
    size: usize,
    text: Vec<u8>,
    block: Vec<u8>,
    out: Vec<u8>,
    open: bool,
    check: Option<Check>,
}

enum Codec {
    None,
    Gzip(libdeflater::Compressor),
    Zstd(zstd::bulk::Compressor<'static>),
}

fn failed(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Io, "cannot compress rows").because(e)
}

impl FrameWriter {
    /// A writer without an open frame.
    pub fn new(compression: Compression) -> Result<Self> {
        let (codec, size) = match compression {
            Compression::None => (Codec::None, 0),
            Compression::Gzip(level) => {
                let level = libdeflater::CompressionLvl::new(level.cast_signed());
                let level = level.map_err(|_| failed("there is no such level"))?;
                (Codec::Gzip(libdeflater::Compressor::new(level)), 2 << 20)
            }
            Compression::Zstd(level) => {
                let mut context = zstd::bulk::Compressor::new(level).map_err(failed)?;
                // zstd leaves it out by default; with it, plain pg_restore notices a flipped bit as well.
                context.include_checksum(true).map_err(failed)?;
                // At least two of the level's windows.
                let size = match level {
                    ..=2 => 2 << 20,
                    3..=9 => 4 << 20,
                    _ => 8 << 20,
                };
                (Codec::Zstd(context), size)
            }
        };
        Ok(Self { codec, size, text: Vec::new(), block: Vec::new(), out: Vec::new(), open: false, check: None })
    }

    /// The same; what it makes is decompressed and compared before anybody gets it.
    ///
    /// # Errors
    /// When there is no decompressor.
    pub fn checked(self, wanted: bool, compression: Compression) -> Result<Self> {
        let check = if wanted { Some(Check::new(compression)?) } else { None };
        Ok(Self { check, ..self })
    }

    /// Begins to count the rows of what is made, for [`FrameWriter::rows`].
    pub fn count_rows(&mut self) {
        if let Some(check) = &mut self.check {
            check.count_rows();
        }
    }

    /// The rows in all that was made since [`FrameWriter::count_rows`], read from it; `None` where nothing is checked.
    pub fn rows(&self) -> Option<Fingerprint> {
        self.check.as_ref().map(Check::rows)
    }

    /// Adds text to the open frame, or opens one.
    pub fn write(&mut self, mut text: &[u8]) -> Result<()> {
        self.open = true;
        if let Codec::None = self.codec {
            self.out.extend_from_slice(text);
            return Ok(());
        }
        while self.text.len() + text.len() > self.size {
            let (fits, rest) = text.split_at(self.size - self.text.len());
            self.text.extend_from_slice(fits);
            self.compress()?;
            text = rest;
        }
        self.text.extend_from_slice(text);
        Ok(())
    }

    /// Bytes of the open frame that have left the compressor and were not drained.
    pub fn ready(&self) -> usize {
        self.out.len()
    }

    /// Takes what has left the compressor; the frame stays open.
    pub fn drain(&mut self) -> Vec<u8> {
        let made = std::mem::take(&mut self.out);
        if let (Some(check), Codec::None) = (&mut self.check, &self.codec) {
            check.plain(&made);
        }
        made
    }

    /// Closes the open frame; `None` when there is none.
    pub fn finish(&mut self) -> Result<Option<Vec<u8>>> {
        if !std::mem::take(&mut self.open) {
            return Ok(None);
        }
        self.compress()?;
        Ok(Some(self.drain()))
    }

    fn compress(&mut self) -> Result<()> {
        match &mut self.codec {
            Codec::None => return Ok(()),
            Codec::Gzip(codec) => {
                self.block.resize(codec.gzip_compress_bound(self.text.len()), 0);
                let length = codec.gzip_compress(&self.text, &mut self.block).map_err(failed)?;
                self.block.truncate(length);
            }
            Codec::Zstd(codec) => {
                self.block.clear();
                self.block.reserve(zstd::zstd_safe::compress_bound(self.text.len()));
                codec.compress_to_buffer(&self.text, &mut self.block).map_err(failed)?;
            }
        }
        if let Some(check) = &mut self.check {
            check.block(&self.block, &self.text)?;
        }
        self.out.extend_from_slice(&self.block);
        self.text.clear();
        Ok(())
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
    let mut writer = FrameWriter::new(compression)?;
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
            let mut writer = FrameWriter::new(compression).unwrap();
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
    fn a_frame_of_many_blocks_is_one_text() {
        for compression in [Compression::None, Compression::Gzip(1), Compression::Zstd(2), Compression::Zstd(3)] {
            let mut writer = FrameWriter::new(compression).unwrap();
            let (mut text, mut stored) = (Vec::new(), Vec::new());
            // Pieces that fall before, behind and over the edges of blocks.
            for (n, length) in [1, (2 << 20) - 1, 1, 5 << 20, 0, 100, 3 << 20].into_iter().enumerate() {
                let piece: Vec<u8> =
                    (0..length).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8 % 7 + n as u8).collect();
                writer.write(&piece).unwrap();
                text.extend(piece);
                if n % 2 == 0 {
                    stored.extend(writer.drain());
                }
            }
            stored.extend(writer.finish().unwrap().unwrap());
            assert!(writer.finish().unwrap().is_none() && writer.ready() == 0);
            assert!(read(compression, &stored).unwrap() == text, "{compression}");
            let mut reader = FrameReader::new(compression).unwrap();
            let pieces = stored.chunks(100_003).map(|b| reader.text(b).unwrap());
            assert!(pieces.collect::<Vec<_>>().concat() == text, "{compression} in pieces");
        }
    }

    #[test]
    fn what_a_checked_writer_made_holds_the_rows_that_it_was_given() {
        for compression in [Compression::None, Compression::Gzip(4), Compression::Zstd(2)] {
            let mut writer = FrameWriter::new(compression).unwrap().checked(true, compression).unwrap();
            let (mut rows, line) = (Fingerprint::default(), format!("{}\n", "x".repeat(700_000)));
            for _ in 0..2 {
                writer.count_rows();
                rows = Fingerprint::default();
                for n in 0..9 {
                    let line = format!("{n}\t{line}");
                    rows.add_row(line.as_bytes());
                    writer.write(line.as_bytes()).unwrap();
                    writer.drain();
                }
                writer.finish().unwrap().unwrap();
                assert_eq!(writer.rows(), Some(rows), "{compression}");
            }
            assert_eq!(rows.rows, 9);
        }
    }

    #[test]
    fn a_cut_or_flipped_frame_is_an_error() {
        for compression in [Compression::Gzip(4), Compression::Zstd(2)] {
            let mut writer = FrameWriter::new(compression).unwrap();
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
