//! To whom a backup is encrypted, and who opens one.

use super::read::{key_text, lines_or_files, no_key_file};
use crate::{
    backup::Encryption,
    cli::{EncryptArgs, IdentityArgs},
    crypt::{Identities, Recipients, is_key},
    error::Result,
    value::{flag, usage},
};
use std::path::Path;

/// Public keys, and files of them.
pub(super) fn encryption(raw: &EncryptArgs, base: &Path) -> Result<Option<Encryption>> {
    let parse = |lines: &[String]| Recipients::parse(lines.iter().map(String::as_str));
    let begins = ["age1", "ssh-", "ecdsa-", "sk-", "AGE-", "-----", "#"];
    let lines = lines_or_files("encrypt-to", &raw.encrypt_to, &begins, base, |lines| parse(lines).map(drop))?;
    let manifest = flag("encrypt-manifest", &raw.encrypt_manifest)?;
    match (lines.is_empty(), manifest) {
        (true, false) => Ok(None),
        (true, true) => Err(usage("option encrypt-manifest: it is encrypted to nobody")
            .hint("name the public keys of those who open it by encrypt-to, or leave encrypt-manifest out")),
        (false, _) => Ok(Some(Encryption { recipients: parse(&lines)?, manifest })),
    }
}

/// Private keys, from a file or as they are.
pub(super) fn identity(raw: &IdentityArgs, base: &Path) -> Result<Option<Identities>> {
    let hint =
        "give the path of a private key, or the key itself (AGE-SECRET-KEY-1…) by the variable SAVEPOINT_IDENTITY";
    let text = key_text(raw.identity.as_ref(), base, is_key, |e| no_key_file("identity", e).hint(hint))?;
    text.map(|(text, place)| Identities::parse(&text, &place)).transpose()
}
