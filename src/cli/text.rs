//! Readers of raw text.

use crate::secret::Secret;
use std::convert::Infallible;

/// Never fails, so that clap never has a reason to print the value.
pub(super) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim()))
}
