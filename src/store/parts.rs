//! An object in parts: their limits, and what is known of each.

use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// The smallest part that S3 takes, but for the last one, in bytes
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>).
pub const MIN_PART: u64 = 5 * 1024 * 1024;

/// The highest part number that S3 takes (same source).
pub const MAX_PARTS: u32 = 10_000;

/// What is known of the parts of an upload: number -> offset, length, and what the backend needs to remember.
#[derive(Debug)]
pub(super) struct Parts<T>(pub(super) BTreeMap<u32, (u64, u64, T)>);

impl<T> Parts<T> {
    pub(super) fn new() -> Self {
        Parts(BTreeMap::new())
    }

    pub(super) fn check_number(uri: &str, number: u32) -> Result<()> {
        if (1..=MAX_PARTS).contains(&number) {
            return Ok(());
        }
        Err(Error::new(Kind::Store, format!("part {number} of {uri} is not in 1 to {MAX_PARTS}")))
    }

    /// The size of the whole object, when the parts tile it.
    pub(super) fn total(&self, uri: &str) -> Result<u64> {
        let incomplete = |why: String| Error::new(Kind::Store, format!("cannot complete {uri}: {why}"));
        let (mut number, mut end) = (0, 0);
        for (&n, &(offset, len, _)) in &self.0 {
            number += 1;
            if n != number {
                return Err(incomplete(format!("part {number} is missing")));
            }
            if offset != end {
                return Err(incomplete(format!("part {n} begins at byte {offset}, not at {end}")));
            }
            end = offset + len;
        }
        if number == 0 { Err(incomplete("it has no parts".into())) } else { Ok(end) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_must_tile_the_object() {
        let parts = |list: &[(u32, u64, u64)]| {
            Parts(list.iter().map(|&(n, offset, len)| (n, (offset, len, ()))).collect())
                .total("x")
                .map_err(|e| e.one_line())
        };
        assert_eq!(parts(&[(2, 5, 7), (1, 0, 5)]), Ok(12));
        assert_eq!(parts(&[(1, 0, 0)]), Ok(0));
        assert_eq!(parts(&[]), Err("cannot complete x: it has no parts".into()));
        assert_eq!(parts(&[(1, 0, 5), (3, 5, 5)]), Err("cannot complete x: part 2 is missing".into()));
        assert_eq!(parts(&[(2, 0, 5)]), Err("cannot complete x: part 1 is missing".into()));
        assert_eq!(parts(&[(1, 0, 5), (2, 6, 5)]), Err("cannot complete x: part 2 begins at byte 6, not at 5".into()));
    }
}
