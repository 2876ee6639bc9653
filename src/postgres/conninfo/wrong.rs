//! Errors about a connection string: the only place that makes them. None holds a piece of the string but the name of a parameter that is
//! certainly one: a badly encoded password may stand in any part of it.

use crate::error::{Error, Kind};

pub(super) fn usage(message: impl Into<String>) -> Error {
    Error::new(Kind::Usage, message)
}

/// How a URL is written.
pub(super) const URL: &str = "postgresql://user:password@host:5432/database";

/// The cure for a password that ends too early.
pub(super) const ENCODE: &str = "percent-encode the characters / : @ % of the password as %2F %3A %40 %25";
