//! To whom a backup is encrypted, and who opens one.

use super::read::list;
use crate::{
    backup::Encryption,
    cli::{EncryptArgs, IdentityArgs},
    crypt::{Identities, Recipients, is_key},
    error::Result,
    secret::Secret,
    value::{flag, usage},
};
use std::path::Path;

/// Public keys, and files of them.
pub(super) fn encryption(raw: &EncryptArgs, base: &Path) -> Result<Option<Encryption>> {
    let mut lines = Vec::new();
    for item in list("encrypt-to", &raw.encrypt_to)? {
        // A key never names a file: none that is there by chance may stand in for it.
        let key = ["age1", "ssh-", "ecdsa-", "sk-", "AGE-", "-----", "#"].iter().any(|begin| item.starts_with(begin));
        let path = base.join(&item);
        if key || !path.is_file() {
            lines.push(item);
            continue;
        }
        let text = std::fs::read_to_string(&path).map_err(|e| {
            usage(format!("option encrypt-to: cannot read {}", path.display()))
                .because(e)
                .hint("name a text file of public keys")
        })?;
        let before = lines.len();
        lines.extend(text.lines().map(str::to_owned));
        Recipients::parse(lines[before..].iter().map(String::as_str)).map_err(|e| e.context(path.display()))?;
    }
    let manifest = flag("encrypt-manifest", &raw.encrypt_manifest)?;
    match (lines.is_empty(), manifest) {
        (true, false) => Ok(None),
        (true, true) => Err(usage("option encrypt-manifest: it is encrypted to nobody")
            .hint("name the public keys of those who open it by encrypt-to, or leave encrypt-manifest out")),
        (false, _) => {
            Ok(Some(Encryption { recipients: Recipients::parse(lines.iter().map(String::as_str))?, manifest }))
        }
    }
}

/// Private keys, from a file or as they are.
pub(super) fn identity(raw: &IdentityArgs, base: &Path) -> Result<Option<Identities>> {
    let Some(text) = raw.identity.as_ref().filter(|text| !text.expose().trim().is_empty()) else { return Ok(None) };
    if is_key(text.expose()) {
        return Identities::parse(text, "the variable").map(Some);
    }
    let path = base.join(text.expose().trim());
    let read = std::fs::read_to_string(&path).map_err(|e| {
        // What was meant to be a key is not shown for a path.
        usage("option identity: the file that it names cannot be read").because(e).hint(
            "give the path of a private key, or the key itself (AGE-SECRET-KEY-1…) by the variable SAVEPOINT_IDENTITY",
        )
    })?;
    Identities::parse(&Secret::new(read), &path.display().to_string()).map(Some)
}
