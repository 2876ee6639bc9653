//! Blocks of the custom format (`pg_backup_custom.c`): behind the TOC, per entry with data a type byte, the entry's id, and chunks of a
//! length and so many bytes, ended by a length of 0. A block of large objects holds a list of OIDs, each followed by such chunks, ended
//! by an OID of 0.

use std::io::{self, ErrorKind, Read};

/// Bytes of an integer: its sign and four more.
pub const INT: usize = 5;

/// A block of rows.
pub const DATA: u8 = 1;
/// A block of large objects.
pub const LARGE_OBJECTS: u8 = 3;

/// The type of a block.
///
/// # Errors
/// At the end.
pub fn byte(from: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// An integer.
///
/// # Errors
/// At the end, and when no integer stands there.
pub fn int(from: &mut impl Read) -> io::Result<i64> {
    let mut b = [0; INT];
    from.read_exact(&mut b)?;
    let size = i64::from(u32::from_le_bytes([b[1], b[2], b[3], b[4]]));
    match b[0] {
        0 => Ok(size),
        1 if size > 0 => Ok(-size),
        _ => Err(io::Error::new(ErrorKind::InvalidData, "no length stands where one is due")),
    }
}

/// The bytes of chunks that follow each other, to the chunk without any.
pub struct Chunks<'a, R> {
    from: &'a mut R,
    left: u64,
    ended: bool,
}

impl<'a, R: Read> Chunks<'a, R> {
    /// Those that begin here.
    pub fn of(from: &'a mut R) -> Self {
        Chunks { from, left: 0, ended: false }
    }
}

impl<R: Read> Read for Chunks<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let length = int(self.from)?;
            self.left =
                u64::try_from(length).map_err(|_| io::Error::new(ErrorKind::InvalidData, "a negative length"))?;
            self.ended = length == 0;
        }
        if self.ended || into.is_empty() {
            return Ok(0);
        }
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.from.read(&mut into[..most])?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}
