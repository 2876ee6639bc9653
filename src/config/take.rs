//! How and why a backup is taken.

use super::read::bytes;
use crate::{
    archive::compression::{Compression, CompressionChoice, DEFAULT_GZIP_LEVEL, DEFAULT_ZSTD_LEVEL},
    error::Result,
    value::usage,
    vault::BackupKind,
};
use std::num::NonZeroU64;

pub(super) fn kind(text: Option<&str>, event: Option<&str>) -> Result<BackupKind> {
    match text.map(str::trim).filter(|t| !t.is_empty()) {
        None => Ok(match event {
            Some("schedule") => BackupKind::Scheduled,
            Some(_) => BackupKind::Snapshot,
            None => BackupKind::Manual,
        }),
        Some("snapshot") => Ok(BackupKind::Snapshot),
        Some("scheduled") => Ok(BackupKind::Scheduled),
        Some("manual") => Ok(BackupKind::Manual),
        Some(other) => {
            Err(usage(format!("option kind: {other:?} is not known")).hint("use one of snapshot, scheduled, manual"))
        }
    }
}

/// Bytes per second: a whole number and a unit, decimal (`k`, `MB`) or binary (`MiB`). Below 1 kB the unit was forgotten.
pub(super) fn rate(text: &str) -> Result<NonZeroU64> {
    let lower = text.to_ascii_lowercase();
    bytes(lower.strip_suffix("/s").unwrap_or(&lower))
        .filter(|bytes| *bytes >= 1_000)
        .and_then(NonZeroU64::new)
        .ok_or_else(|| {
            usage(format!("option max-rate: {text:?} is not a number of bytes per second from 1kB on")).hint(
                "write a whole number and its unit, such as max-rate 20MB (or 20MiB, 500k); leave it out for no limit",
            )
        })
}

pub(super) fn compression(text: &str) -> Result<CompressionChoice> {
    let text = text.trim().to_ascii_lowercase();
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (text.as_str(), None),
    };
    let wrong = || {
        usage(format!("option compression: {text:?} is not known"))
            .hint("use auto, zstd, zstd:1 to zstd:19, gzip, gzip:1 to gzip:9, or none")
    };
    let level = |default: i32, most: i32| match level {
        None => Ok(default),
        Some(level) => level.parse().ok().filter(|l| (1..=most).contains(l)).ok_or_else(wrong),
    };
    match name {
        "" | "auto" if !text.contains(':') => Ok(CompressionChoice::Auto),
        "none" if !text.contains(':') => Ok(CompressionChoice::Named(Compression::None)),
        "zstd" => Ok(CompressionChoice::Named(Compression::Zstd(level(DEFAULT_ZSTD_LEVEL, 19)?))),
        "gzip" => {
            Ok(CompressionChoice::Named(Compression::Gzip(level(DEFAULT_GZIP_LEVEL.cast_signed(), 9)?.unsigned_abs())))
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::backup::tests::parsed, error::Kind};

    #[test]
    fn compression_levels() {
        use CompressionChoice::Named;
        for (text, expected) in [
            ("auto", CompressionChoice::Auto),
            ("none", Named(Compression::None)),
            ("zstd", Named(Compression::Zstd(DEFAULT_ZSTD_LEVEL))),
            ("ZSTD:19", Named(Compression::Zstd(19))),
            ("gzip", Named(Compression::Gzip(DEFAULT_GZIP_LEVEL))),
            ("gzip:9", Named(Compression::Gzip(9))),
        ] {
            assert_eq!(compression(text).expect(text), expected);
        }
    }

    #[test]
    fn rates() {
        for (text, expected) in [
            ("20MB", 20_000_000),
            ("20M", 20_000_000),
            ("20 mb/s", 20_000_000),
            ("20MiB", 20 << 20),
            ("500k", 500_000),
            ("1KiB", 1024),
            ("2G", 2_000_000_000),
            ("2GiB", 2 << 30),
            ("1000", 1000),
            ("1024B", 1024),
        ] {
            assert_eq!(rate(text).expect(text).get(), expected, "{text}");
        }
        for text in
            ["0", "0MB", "20", "-5M", "+5M", "1.5M", "M", "fast", "20MBit", "20M B", "99999999999GB", "1e9", "٣M"]
        {
            assert_eq!(rate(text).expect_err(text).kind(), Kind::Usage);
        }
        assert_eq!(parsed(&["--max-rate="]).expect("is valid").config.max_rate, None);
        assert_eq!(parsed(&["--max-rate=1M"]).expect("is valid").config.max_rate.map(NonZeroU64::get), Some(1_000_000));
    }
}
