//! Signatures beside what is stored, in the formats of two tools that others have: that of `ssh-keygen -Y` (SSHSIG) and minisign's. Each signs
//! the bytes of a file as they lie there, so that either tool checks them without this program.

mod public;
mod signer;

pub use public::{Judged, PublicKey, PublicKeys};
pub use signer::Signer;

/// What an SSH signature is made for: one that the same key made for something else says nothing about a backup.
pub const NAMESPACE: &str = "savepoint";

/// What the name of a signature adds to that of the file, whoever made it.
pub const SUFFIXES: [&str; 2] = [SSH, MINISIGN];

/// As ssh-keygen names it.
const SSH: &str = ".sig";
/// As minisign names it.
const MINISIGN: &str = ".minisig";

/// How the line of a minisign key begins, by its kinds of signature, of password and of checksum: without a password, and with one.
const BARE: &str = "RWQAAEIy";
const LOCKED: &str = "RWRTY0Iy";

/// Whether a text is a private key, and not the name of a file that holds one.
pub fn is_secret(text: &str) -> bool {
    text.lines().map(str::trim).any(|line| line.starts_with("-----BEGIN") || is_minisign(line))
}

fn is_minisign(line: &str) -> bool {
    line.starts_with(BARE) || line.starts_with(LOCKED)
}
