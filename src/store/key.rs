//! Which keys and ranges a backend may be asked for.

use crate::error::{Error, Kind, Result};
use std::ops::Range;

/// The longest key that S3 takes, in bytes of UTF-8
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html>).
const MAX_KEY: usize = 1024;

/// Refuses keys that could leave the destination or that a backend could not hold.
pub(super) fn check_key(key: &str) -> Result<()> {
    let reason = if key.is_empty() {
        "is empty"
    } else if key.len() > MAX_KEY {
        "is longer than 1024 bytes"
    } else if key.chars().any(char::is_control) {
        "holds a control character"
    } else if key.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "holds an empty, `.` or `..` part"
    } else {
        return Ok(());
    };
    Err(Error::new(Kind::Store, format!("object key {key:?} {reason}")))
}

/// As [`check_key`] for the prefix of a listing, which may be empty or end anywhere.
pub(super) fn check_prefix(prefix: &str) -> Result<()> {
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    if folder.is_empty() && !prefix.starts_with('/') { Ok(()) } else { check_key(folder) }
}

/// Refuses a range whose end stands before its start.
pub(super) fn check_range(uri: &str, range: &Range<u64>) -> Result<()> {
    if range.start <= range.end {
        return Ok(());
    }
    Err(Error::new(Kind::Store, format!("cannot read bytes {}..{} of {uri}: not a range", range.start, range.end)))
}

/// The error for an object that ends before the range that was asked for.
pub(super) fn too_short(uri: &str, size: Option<u64>, range: &Range<u64>) -> Error {
    let size = size.map_or(String::new(), |n| format!(" holds {n} bytes and"));
    Error::new(Kind::Archive, format!("{uri}{size} ends before byte {} that should be there", range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_cannot_leave_the_destination() {
        for good in ["a", "app/2026/x y+z%20/ü.gz", ".hidden", "a..b/c"] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "/etc/passwd", "a/", "a//b", "..", "a/../b", "./a", "a\nb", "a\0", &"x".repeat(1025)] {
            assert!(check_key(bad).is_err(), "{bad}");
        }
        for good in ["", "app", "app/", "app/20", ".."] {
            assert!(check_prefix(good).is_ok(), "{good}");
        }
        for bad in ["/", "/etc", "../", "a/../b", "a//b"] {
            assert!(check_prefix(bad).is_err(), "{bad}");
        }
    }
}
