//! Where the bytes of a file stand in its age file.

use std::ops::Range;

/// Bytes of the file that are sealed together.
pub(super) const CHUNK: u64 = 64 << 10;

/// Bytes that each chunk is longer by.
const TAG: u64 = 16;

/// Bytes of a whole chunk in the age file.
pub(super) const SEALED: u64 = CHUNK + TAG;

/// Bytes between the header and the first chunk.
pub(super) const NONCE: u64 = 16;

/// No header is longer: one of a recipient has a few hundred bytes.
pub(super) const MOST_HEADER: u64 = 1 << 20;

/// The sizes of an age file and of what is in it, which between them say where everything stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    plain: u64,
    /// Where the first chunk begins.
    body: u64,
    stored: u64,
}

/// A range of a file in terms of its age file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The number of the first chunk.
    pub chunk: u64,
    /// Where the chunks stand in the age file.
    pub stored: Range<u64>,
    /// Bytes of the first chunk that come before the range.
    pub skip: u64,
    /// Bytes of the range.
    pub length: u64,
    /// The last chunk of the file is among them.
    pub ends: bool,
}

impl Layout {
    /// Of an age file of `stored` bytes that holds `plain` bytes; `None` when there is no such file.
    pub fn new(stored: u64, plain: u64) -> Option<Layout> {
        // An empty file has one chunk, which is empty.
        let tags = plain.div_ceil(CHUNK).max(1).checked_mul(TAG)?;
        let body = stored.checked_sub(plain.checked_add(tags)?)?;
        (NONCE < body && body <= MOST_HEADER).then_some(Layout { plain, body, stored })
    }

    /// Bytes of header and nonce, which stand in front of the chunks.
    pub fn head(&self) -> u64 {
        self.body
    }

    /// Where a range of the file is found; `None` when the file does not have it, or it is empty.
    pub fn span(&self, range: Range<u64>) -> Option<Span> {
        if range.start >= range.end || range.end > self.plain {
            return None;
        }
        let (first, behind) = (range.start / CHUNK, range.end.div_ceil(CHUNK));
        let at = |chunk: u64| (self.body + chunk * SEALED).min(self.stored);
        Some(Span {
            chunk: first,
            stored: at(first)..at(behind),
            skip: range.start - first * CHUNK,
            length: range.end - range.start,
            ends: behind * CHUNK >= self.plain,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_chunks() {
        let head = 200;
        let of = |plain: u64| Layout::new(head + plain + 16 * plain.div_ceil(CHUNK).max(1), plain).expect("is a file");
        for plain in [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7] {
            let layout = of(plain);
            assert_eq!(layout.head(), head);
            let all = layout.span(0..plain).expect("is there");
            assert_eq!((all.chunk, all.stored, all.skip, all.ends), (0, head..layout.stored, 0, true), "{plain}");
            let last = layout.span(plain - 1..plain).expect("is there");
            assert_eq!(last.chunk, (plain - 1) / CHUNK);
            assert_eq!((last.chunk * CHUNK + last.skip, last.length, last.ends), (plain - 1, 1, true));
            assert_eq!((last.stored.start, last.stored.end), (head + last.chunk * SEALED, layout.stored));
            assert_eq!(layout.span(0..plain + 1), None);
            assert_eq!(layout.span(plain..plain), None);
        }
        let seam = of(3 * CHUNK + 7).span(CHUNK - 1..CHUNK + 1).expect("is there");
        let expected = Span { chunk: 0, stored: head..head + 2 * SEALED, skip: CHUNK - 1, length: 2, ends: false };
        assert_eq!(seam, expected);
        let second = of(3 * CHUNK + 7).span(CHUNK..2 * CHUNK).expect("is there");
        assert_eq!((second.chunk, second.stored, second.skip), (1, head + SEALED..head + 2 * SEALED, 0));
    }

    #[test]
    fn sizes_that_no_age_file_has_are_told() {
        for (stored, plain) in
            [(0, 0), (32, 0), (100, 100), (u64::MAX, 0), (u64::MAX, u64::MAX), (10, u64::MAX), (3 << 20, 5), (150, 150)]
        {
            assert_eq!(Layout::new(stored, plain), None, "{stored} {plain}");
        }
        assert_eq!(Layout::new(200 + 16, 0).map(|layout| layout.head()), Some(200));
    }
}
