//! What rows are, whatever their order: a count, their bytes, and a sum of hashes.

use super::TERMINATOR;
use crate::error::{Error, Kind, Result};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Rows, bytes of COPY text, and the sum modulo 2^128 of the XXH3-128 hash of each row. Order-independent, and additive over
/// pieces of a table; a row that stands twice counts twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Rows.
    pub rows: u64,
    /// Bytes of COPY text, line ends included.
    pub bytes: u64,
    /// Sum of the hashes of the rows' text, line ends left out.
    pub sum: u128,
}

impl Fingerprint {
    /// Adds one row of COPY text format, with its line end.
    #[inline]
    pub fn add_row(&mut self, line: &[u8]) {
        self.rows += 1;
        self.bytes += line.len() as u64;
        self.sum = self.sum.wrapping_add(xxh3_128(line.strip_suffix(b"\n").unwrap_or(line)));
    }

    /// Adds a row that comes in pieces; `open` keeps what was seen of it. Returns whether the row ended. A row without a line end at its end
    /// is `None`.
    #[inline]
    pub fn add_piece(&mut self, open: &mut Option<Box<Xxh3>>, bytes: &[u8], ends: bool) -> Option<bool> {
        if ends && open.is_none() {
            bytes.strip_suffix(b"\n")?;
            self.add_row(bytes);
            return Some(true);
        }
        let hash = open.get_or_insert_with(Box::default);
        self.bytes += bytes.len() as u64;
        if !ends {
            hash.update(bytes);
            return Some(false);
        }
        hash.update(bytes.strip_suffix(b"\n")?);
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash.digest128());
        *open = None;
        Some(true)
    }

    /// Adds what another piece of the same table holds. A damaged manifest may claim any number of rows.
    pub fn merge(&mut self, other: Fingerprint) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// The sum as 32 hex digits.
    pub fn hex(&self) -> String {
        format!("{:032x}", self.sum)
    }
}

/// The text of a data file that comes in pieces: rows, and behind them the end mark.
#[derive(Default)]
pub struct DataFile {
    sum: Fingerprint,
    row: Option<Box<Xxh3>>,
    /// The last bytes are the end mark, which is known only when nothing follows.
    held: Vec<u8>,
}

impl DataFile {
    /// Takes the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let rows = self.held.len().saturating_sub(TERMINATOR.len());
        self.rows(rows);
    }

    fn rows(&mut self, bytes: usize) {
        for line in self.held[..bytes].split_inclusive(|&b| b == b'\n') {
            self.sum.add_piece(&mut self.row, line, line.ends_with(b"\n"));
        }
        self.held.drain(..bytes);
    }

    /// What the rows are; `None` when the file does not end as it should.
    pub fn end(mut self) -> Option<Fingerprint> {
        let rows = self.held.strip_suffix(TERMINATOR)?.len();
        self.rows(rows);
        self.row.is_none().then_some(self.sum)
    }
}

/// A fingerprint's sum from its 32 hex digits.
pub fn parse_sum(hex: &str) -> Result<u128> {
    u128::from_str_radix(hex, 16).map_err(|e| Error::new(Kind::Archive, format!("{hex} is no fingerprint")).because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: &[&str]) -> Fingerprint {
        let mut f = Fingerprint::default();
        rows.iter().for_each(|r| f.add_row(r.as_bytes()));
        f
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let all = of(&["1\ta\n", "2\tb\n", "2\tb\n"]);
        assert_eq!(all, of(&["2\tb\n", "1\ta\n", "2\tb\n"]));
        assert_ne!(all.sum, of(&["1\ta\n", "2\tb\n"]).sum, "a row that stands twice counts twice");
        assert_ne!(all.sum, of(&["1\tb\n", "2\ta\n", "2\tb\n"]).sum, "values swapped between rows");
        let mut parts = of(&["2\tb\n"]);
        parts.merge(of(&["1\ta\n", "2\tb\n"]));
        assert_eq!(parts, all);
        // Two rows that are each other's copy must not cancel out, as they would with XOR.
        assert_ne!(of(&["x\n", "x\n"]).sum, 0);
    }

    #[test]
    fn a_row_in_pieces_counts_as_a_whole_one() {
        let row: Vec<u8> = (0..300_000_u32).map(|i| b'a' + (i % 251 % 25) as u8).chain([b'\n']).collect();
        for cut in [1, 7, 240, 241, 131_072, 300_000] {
            let (mut f, mut open) = (Fingerprint::default(), None);
            let pieces = row.chunks(cut).count();
            for (n, piece) in row.chunks(cut).enumerate() {
                let ends = n + 1 == pieces;
                assert_eq!(f.add_piece(&mut open, piece, ends), Some(ends));
            }
            assert!(open.is_none());
            f.add_piece(&mut open, b"x\n", true);
            assert_eq!(f, of(&[std::str::from_utf8(&row).unwrap(), "x\n"]), "{cut}");
        }
        let (mut f, mut open) = (Fingerprint::default(), None);
        assert_eq!(f.add_piece(&mut open, b"no line end", true), None);
        f.add_piece(&mut open, b"begun", false);
        assert_eq!(f.add_piece(&mut open, b"", true), None);
    }

    #[test]
    fn the_formula_is_the_documented_one() {
        let f = of(&["1\ta\n", "\n"]);
        assert_eq!(f.sum, xxh3_128(b"1\ta").wrapping_add(xxh3_128(b"")));
        assert_eq!((f.rows, f.bytes, f.hex().len()), (2, 5, 32));
    }
}
