//! Compressed streams, read to their very end: unlike the libraries' readers, these say when a stream was cut off or when something
//! else follows it.

use super::found::Packing;
use flate2::{Decompress, FlushDecompress, Status, bufread::GzDecoder};
use lz4_flex::frame::FrameDecoder;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Error, ErrorKind, Read},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

const BUFFER: usize = 256 << 10;

/// A file that knows how far it was read, and that stops when it is told to.
pub(super) struct Input {
    from: BufReader<File>,
    at: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

/// How far an [`Input`] was read.
#[derive(Clone)]
pub(super) struct At(Arc<AtomicU64>);

impl At {
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Input {
    pub fn open(path: &Path, stop: &Arc<AtomicBool>) -> io::Result<Input> {
        let from = BufReader::with_capacity(BUFFER, File::open(path)?);
        Ok(Input { from, at: Arc::default(), stop: stop.clone() })
    }

    pub fn at(&self) -> At {
        At(self.at.clone())
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::other("nobody waits for it any more"));
        }
        self.from.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.at.fetch_add(n as u64, Ordering::Relaxed);
        self.from.consume(n);
    }
}

/// How the bytes are packed, by their magic numbers.
pub(super) fn packing(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        [0x04, 0x22, 0x4d, 0x18, ..] => Packing::Lz4,
        _ => Packing::None,
    }
}

/// Whether a stream that begins so carries a checksum of its content (RFC 8878, 3.1.1.1.1; LZ4 frame format 1.6.1, FLG).
pub(super) fn has_checksum(head: &[u8]) -> bool {
    match packing(head) {
        Packing::None => false,
        Packing::Gzip => true,
        Packing::Zstd | Packing::Lz4 => head.get(4).is_some_and(|flags| flags & 4 != 0),
    }
}

/// The unpacked bytes. The end is only told when the stream was whole and nothing follows it.
pub(super) fn unpack<'a>(packing: Packing, from: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        Packing::None => Box::new(from),
        Packing::Gzip => Box::new(Gzip { member: Some(GzDecoder::new(from)) }),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(from)?),
        Packing::Lz4 => Box::new(Lz4 { frame: Some(FrameDecoder::new(Probe { from, taken: 0, zeros: None })) }),
    })
}

/// Gzip members in a row; between them and behind them nothing.
struct Gzip<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let read = member.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            let Some(ended) = self.member.take() else { return Ok(0) };
            let mut from = ended.into_inner();
            match from.fill_buf()? {
                [] => return Ok(0),
                [0x1f] | [0x1f, 0x8b, ..] => self.member = Some(GzDecoder::new(from)),
                _ => return Err(Error::new(ErrorKind::InvalidData, "something that is no gzip follows its end")),
            }
        }
    }
}

/// A zlib stream (RFC 1950), as the blocks of a custom-format file hold. No byte at all is no data.
pub(super) struct Zlib<R> {
    from: R,
    inflate: Decompress,
    begun: bool,
    ended: bool,
}

impl<R: BufRead> Zlib<R> {
    pub fn new(from: R) -> Self {
        Zlib { from, inflate: Decompress::new(true), begun: false, ended: false }
    }
}

impl<R: BufRead> Read for Zlib<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.from.fill_buf()?;
            if self.ended {
                return match input {
                    [] => Ok(0),
                    _ => Err(Error::new(ErrorKind::InvalidData, "something follows the end of the zlib stream")),
                };
            }
            let at_end = input.is_empty();
            if at_end && !self.begun {
                return Ok(0);
            }
            self.begun = true;
            let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, into, FlushDecompress::None);
            let status = status.map_err(|e| Error::new(ErrorKind::InvalidData, e))?;
            let (taken, given) = (self.inflate.total_in() - taken, self.inflate.total_out() - given);
            self.from.consume(taken as usize);
            self.ended = status == Status::StreamEnd;
            if given > 0 {
                return Ok(given as usize);
            }
            if at_end && !self.ended {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the zlib stream has no end"));
            }
        }
    }
}

/// The library's reader ends alike behind a whole frame and inside a cut one, so it is asked once more with zeros behind the end. Behind a
/// frame it takes seven, the shortest header, and finds that they begin none; inside a frame it takes four for the end mark, and four
/// more where a checksum is due.
struct Lz4<R: Read> {
    /// A reader of its own for each frame: the next may have blocks of another size.
    frame: Option<FrameDecoder<Probe<R>>>,
}

struct Probe<R> {
    from: R,
    /// Bytes of this frame.
    taken: usize,
    /// Zeros that were handed out behind the end.
    zeros: Option<usize>,
}

const SHORTEST_HEADER: usize = 7;

impl<R: Read> Read for Probe<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(zeros) = &mut self.zeros {
            into.fill(0);
            *zeros += into.len();
            return Ok(into.len());
        }
        let read = self.from.read(into)?;
        self.taken += read;
        Ok(read)
    }
}

impl<R: BufRead> Read for Lz4<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(frame) = &mut self.frame else { return Ok(0) };
            let read = frame.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            if frame.get_mut().from.fill_buf()?.is_empty() {
                frame.get_mut().zeros = Some(0);
                // An error either way, or no byte.
                let _ = frame.read(&mut [0]);
                return match self.frame.take().map(FrameDecoder::into_inner) {
                    // A cut header is taken for none.
                    Some(p) if p.zeros == Some(SHORTEST_HEADER) && (p.taken == 0 || p.taken > SHORTEST_HEADER) => Ok(0),
                    _ => Err(Error::new(ErrorKind::UnexpectedEof, "the lz4 frame has no end")),
                };
            }
            self.frame = self.frame.take().map(|f| FrameDecoder::new(Probe { taken: 0, ..f.into_inner() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pack(packing: Packing, text: &[u8]) -> Vec<u8> {
        match packing {
            Packing::None => text.to_vec(),
            Packing::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(text, 1).unwrap(),
            Packing::Lz4 => {
                // Blocks of 64 KiB, as pg_dump writes them, without a checksum.
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn unpacked(packing: Packing, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        unpack(packing, bytes)?.read_to_end(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_stream_ends_where_it_is_whole_and_nothing_follows() {
        let text: Vec<u8> =
            (0..200_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 28).to_le_bytes()).collect();
        for packing in [Packing::Gzip, Packing::Zstd, Packing::Lz4] {
            let one = pack(packing, &text);
            let two = [&one[..], &pack(packing, b"more")].concat();
            assert!(unpacked(packing, &two).unwrap() == [&text[..], b"more"].concat(), "{packing:?}");
            for at in (1..two.len()).step_by(997).chain(two.len() - 60..two.len()).filter(|at| *at != one.len()) {
                assert!(unpacked(packing, &two[..at]).is_err(), "{packing:?} cut at {at} of {}", two.len());
            }
            for behind in [&b"x"[..], b"\0\0\0\0\0\0\0\0", b"something longer that is none"] {
                assert!(
                    unpacked(packing, &[&two[..], behind].concat()).is_err(),
                    "{packing:?} with {behind:?} behind it"
                );
            }
        }
        // Between the blocks of one frame.
        let one = pack(Packing::Lz4, &text);
        let mut at = 7;
        while let Some(size) = one.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x7fff_ffff) {
            assert!(unpacked(Packing::Lz4, &one[..at]).is_err(), "cut at {at}");
            at += 4 + size as usize;
        }
        assert!(at >= one.len());
    }

    #[test]
    fn a_zlib_stream_has_an_end() {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&b"some row\n".repeat(1000)).unwrap();
        let whole = encoder.finish().unwrap();
        let read = |bytes: &[u8]| Zlib::new(bytes).read_to_end(&mut Vec::new());
        assert_eq!(read(&whole).unwrap(), 9000);
        assert_eq!(read(b"").unwrap(), 0, "no data at all");
        for at in 1..whole.len() {
            assert!(read(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&[&whole[..], b"x"].concat()).is_err());
    }
}
