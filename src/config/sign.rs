//! Who signs what is stored, and whose signatures count.

use super::read::{Env, key_text, lines_or_files, no_key_file};
use crate::{
    cli::{SignArgs, VerifyKeyArgs},
    error::Result,
    secret::Secret,
    sign::{PublicKeys, Signer, is_secret},
    value::usage,
    vault::{Pick, Which},
};
use std::path::Path;

/// A private key, from a file or as it is.
pub(super) fn signer(raw: &SignArgs, base: &Path, env: Env<'_>) -> Result<Option<Signer>> {
    let hint = "give the path of a private key, or the key itself by the variable SAVEPOINT_SIGN_KEY";
    let Some((text, place)) =
        key_text(raw.sign_key.as_ref(), base, is_secret, |e| no_key_file("sign-key", e).hint(hint))?
    else {
        return Ok(None);
    };
    let password = env("SAVEPOINT_SIGN_PASSWORD").map(Secret::new);
    Signer::parse(&text, &place, password.as_ref()).map(Some)
}

/// How a line of public keys begins; no file is meant by it.
const BEGINS: [&str; 6] = ["ssh-", "ecdsa-", "sk-", "RW", "-----", "#"];

/// Public keys, and files of them. `pick`: what they are to have signed.
pub(super) fn verify_key(raw: &VerifyKeyArgs, base: &Path, pick: Option<&Pick>) -> Result<Option<PublicKeys>> {
    let parse = |lines: &[String]| PublicKeys::parse(lines.iter().map(String::as_str));
    let lines = lines_or_files("verify-key", &raw.verify_key, &BEGINS, base, |lines| parse(lines).map(drop))?;
    if lines.is_empty() {
        return Ok(None);
    }
    if pick.is_some_and(|pick| matches!(pick.which, Which::File(_))) {
        return Err(usage("option verify-key: a file that pg_dump wrote is not signed")
            .hint("leave verify-key out for it (SAVEPOINT_VERIFY_KEY= empties the variable)"));
    }
    parse(&lines).map(Some)
}
