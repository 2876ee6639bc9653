//! Encryption on this side of the store, in the format of age (<https://c2sp.org/age>) and by its library: each stored file is an age file
//! of its own, so that `age -d` gives back the standard archive file by file.
//!
//! An age file is a header that holds the file's key once for each recipient, a nonce, and chunks of 64 KiB, each sealed with its number and
//! with whether it is the last. So a file is encrypted while it is written, and a range of it can be read alone ([`Layout`], [`Opener`]).

mod identities;
mod layout;
mod open;
mod recipients;
mod seal;

pub use identities::{Identities, is_key};
pub use layout::{Layout, Span};
pub use open::{Head, Opener};
pub use recipients::Recipients;
pub use seal::{SealedFile, Sealing};

/// What the name of an encrypted file ends with.
pub const SUFFIX: &str = ".age";

/// The name that a file has once it is decrypted.
pub fn bare(name: &str) -> &str {
    name.strip_suffix(SUFFIX).unwrap_or(name)
}
