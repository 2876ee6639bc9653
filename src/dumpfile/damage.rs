//! The words for a dump that is not whole.

use crate::error::{Error, Kind};
use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
};

pub(super) const FETCH_AGAIN: &str =
    "fetch it again and compare its size with the original's; if that is the same, take the dump again";

/// A dump that is cut off or damaged. `at`: bytes of the file that were read.
pub(super) fn damaged(path: &Path, at: u64, why: &str) -> Error {
    let size = fs::metadata(path).map(|m| m.len()).unwrap_or(at);
    let place = if at >= size { format!("at its end, byte {at}") } else { format!("at about byte {at} of {size}") };
    Error::new(Kind::Archive, format!("{}: damaged {place}: {why}", path.display())).hint(FETCH_AGAIN)
}

/// A reader's error in words.
pub(super) fn cut(e: &io::Error) -> String {
    match e.kind() {
        ErrorKind::UnexpectedEof => "it was cut off: its data ends too early".into(),
        _ => format!("its data cannot be unpacked ({e})"),
    }
}
