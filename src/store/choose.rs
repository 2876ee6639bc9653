//! The one place where backends are listed: an address and its options become the place that they name.

use super::{
    local,
    place::{Backend, Destination, Given},
    s3,
};
use crate::{
    clock::STALL,
    error::{Error, Result},
};
use std::path::Path;

/// Every backend. A new one is a file and a line.
const BACKENDS: &[Backend] = &[
    s3::BACKEND,    // s3://bucket/prefix
    local::BACKEND, // /path, ./path, file:///path
];

/// Checks what was given as a destination. The place, and what the user should know about the options.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure, never a secret.
pub fn destination(given: &Given<'_>) -> Result<(Destination, Vec<String>)> {
    if given.address.contains(char::is_control) {
        return Err(given.refuse("the address holds a control character").hint("use s3://bucket/prefix"));
    }
    let chosen = BACKENDS.iter().find(|b| (b.takes)(given.address)).ok_or_else(|| unknown(given))?;
    let place = (chosen.check)(given)?;
    let others = BACKENDS.iter().filter(|b| b.noun != chosen.noun).flat_map(|b| b.options);
    let idle = others.filter(|name| given.option(name).is_some());
    let notices = idle.map(|name| format!("{name} has no effect: the destination is {}", chosen.noun)).collect();
    Ok((place, notices))
}

impl Destination {
    /// The place of an address (`s3://bucket/prefix`, a folder), with every option at its default.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when no backend takes it.
    pub fn parse(address: &str) -> Result<Self> {
        let (address, base) = (address.trim(), Path::new(""));
        let given = Given { address, options: &[], base, read_back: true, put_only: false, stall: STALL };
        destination(&given).map(|(place, _)| place)
    }
}

/// The error for an address that no backend takes.
fn unknown(given: &Given<'_>) -> Error {
    let bad = |what: &str, cure: &str| given.refuse(what).hint(cure);
    let text = given.address;
    // The rest of the address may hold a key: only the scheme is shown.
    match text.split_once("://") {
        Some(("http" | "https", _)) => bad(
            "a web address is no destination",
            "use destination s3://bucket/prefix, and s3-endpoint for the address of an S3 clone",
        ),
        Some(("gs", _)) => bad(
            "gs:// is not spoken",
            "use Google's S3 interface: destination s3://bucket/prefix, s3-endpoint https://storage.googleapis.com",
        ),
        Some((scheme, _)) => {
            bad(&format!("the scheme {scheme}:// is not known"), "use s3://bucket/prefix or a folder such as ./backups")
        }
        None => bad(
            &format!("{text:?} may be a bucket or a folder"),
            &format!("write s3://{text} for a bucket, ./{text} for a folder"),
        ),
    }
}
