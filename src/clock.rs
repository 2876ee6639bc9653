//! Moments as manifests, proof records and pages write them, and how long is waited.

use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// How long nothing may come where something is owed, unless `stall-timeout` says otherwise.
pub const STALL: Duration = Duration::from_secs(60);

/// Now, RFC 3339, UTC, whole seconds.
pub fn now() -> String {
    stamp(OffsetDateTime::now_utc())
}

/// A moment as manifests write it: RFC 3339, UTC, whole seconds.
pub fn stamp(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

/// The moment in a manifest or proof record.
pub fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

/// How long ago a moment is: `45 s`, `12 min`, `5 h`, `12 d`.
pub fn age(now: OffsetDateTime, at: OffsetDateTime) -> String {
    match (now - at).whole_seconds().max(0) {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}
