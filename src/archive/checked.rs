//! What a compressor made, decompressed before it leaves this machine: for a backup that nobody reads back.

use super::{compression::Compression, fingerprint::Fingerprint};
use crate::error::{Error, Kind, Result};
use xxhash_rust::xxh3::Xxh3;

/// Reads what was made, and counts the rows in it.
pub(super) struct Check {
    codec: Codec,
    text: Vec<u8>,
    rows: Fingerprint,
    /// A row that has not ended yet.
    row: Option<Box<Xxh3>>,
}

enum Codec {
    None,
    Gzip(libdeflater::Decompressor),
    Zstd(zstd::bulk::Decompressor<'static>),
}

impl Check {
    pub(super) fn new(compression: Compression) -> Result<Self> {
        let failed = |e| Error::new(Kind::Io, "cannot decompress rows").because(e);
        let codec = match compression {
            Compression::None => Codec::None,
            Compression::Gzip(_) => Codec::Gzip(libdeflater::Decompressor::new()),
            Compression::Zstd(_) => Codec::Zstd(zstd::bulk::Decompressor::new().map_err(failed)?),
        };
        Ok(Self { codec, text: Vec::new(), rows: Fingerprint::default(), row: None })
    }

    /// Takes a block and the text that it was made of.
    pub(super) fn block(&mut self, block: &[u8], text: &[u8]) -> Result<()> {
        let mut made = std::mem::take(&mut self.text);
        made.clear();
        let read = match &mut self.codec {
            Codec::None => false,
            Codec::Gzip(codec) => {
                made.resize(text.len(), 0);
                codec.gzip_decompress(block, &mut made).is_ok_and(|n| n == text.len())
            }
            Codec::Zstd(codec) => {
                made.reserve(text.len());
                codec.decompress_to_buffer(block, &mut made).is_ok()
            }
        };
        if !read || made != text {
            return Err(not_the_same());
        }
        self.add(&made);
        self.text = made;
        Ok(())
    }

    /// Takes text that is stored as it is.
    pub(super) fn plain(&mut self, made: &[u8]) {
        self.add(made);
    }

    fn add(&mut self, text: &[u8]) {
        for line in text.split_inclusive(|&b| b == b'\n') {
            self.rows.add_piece(&mut self.row, line, line.ends_with(b"\n"));
        }
    }

    pub(super) fn count_rows(&mut self) {
        (self.rows, self.row) = (Fingerprint::default(), None);
    }

    pub(super) fn rows(&self) -> Fingerprint {
        self.rows
    }
}

/// The error for what was made and does not hold what went into it.
pub fn not_the_same() -> Error {
    Error::new(Kind::Archive, "what was compressed is not what was read, before it was sent")
        .hint("this machine makes mistakes: look at its memory, and take the backup on another one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::frame::FrameWriter;

    #[test]
    fn a_block_that_holds_other_text_is_found() {
        for compression in [Compression::Gzip(4), Compression::Zstd(2)] {
            let mut writer = FrameWriter::new(compression).unwrap();
            writer.write(b"one\ntwo\n").unwrap();
            let mut block = writer.finish().unwrap().unwrap();
            let mut check = Check::new(compression).unwrap();
            check.block(&block, b"one\ntwo\n").unwrap();
            assert_eq!((check.rows().rows, check.rows().bytes), (2, 8));
            assert_eq!(check.block(&block, b"one\ntwx\n").unwrap_err().kind(), Kind::Archive);
            assert_eq!(check.block(&block, b"one\n").unwrap_err().kind(), Kind::Archive);
            let at = block.len() / 2;
            block[at] ^= 0x10;
            assert_eq!(check.block(&block, b"one\ntwo\n").unwrap_err().kind(), Kind::Archive, "{compression}");
        }
    }
}
