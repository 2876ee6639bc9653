//! The one place where backends are listed: an address and its options become the place that they name.

use super::{
    dal, local,
    place::{Backend, Destination, Env, Given},
    s3, sftp,
};
use crate::error::{Error, Result};

/// Every backend. A new one is a file and a line.
const BACKENDS: &[Backend] = &[
    s3::BACKEND,           // s3://bucket/prefix
    dal::gcs::BACKEND,     // gs://bucket/prefix
    dal::azblob::BACKEND,  // azblob://container/prefix
    sftp::BACKEND,         // sftp://user@host:port/path
    dal::webdav::BACKEND,  // webdavs://host/path, webdav://host/path
    dal::dropbox::BACKEND, // dropbox://folder
    dal::gdrive::BACKEND,  // gdrive://folder
    dal::vercel::BACKEND,  // vercel-blob://prefix
    local::BACKEND,        // /path, ./path, file:///path
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
    /// The place of an address (`s3://bucket/prefix`, a folder), with every option at its default. Credentials come from where such
    /// a store usually has them: files and the environment.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when no backend takes it.
    pub fn parse(address: &str) -> Result<Self> {
        let env = |name: &str| std::env::var(name).ok();
        destination(&Given::plain(address, Env(&env))).map(|(place, _)| place)
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
            "use destination s3://bucket/prefix, and s3-endpoint for the address of an S3 clone; webdavs://host/path for WebDAV",
        ),
        Some(("ftp" | "ftps", _)) => bad("FTP is not spoken", "use sftp://user@host/path, if the server has it"),
        Some(("az" | "azure" | "abfs" | "abfss" | "wasbs", _)) => {
            bad("Azure Blob Storage is spoken by another scheme", "use azblob://container/prefix")
        }
        Some((scheme, _)) => bad(
            &format!("the scheme {scheme}:// is not known"),
            "use s3://, gs://, azblob://, sftp://, webdavs://, dropbox://, gdrive://, vercel-blob://, or a folder such as ./backups",
        ),
        None => bad(
            &format!("{text:?} may be a bucket or a folder"),
            &format!(
                "write s3://{} for a bucket, ./{text} for a folder",
                text.trim_start_matches("s3:").trim_start_matches('/')
            ),
        ),
    }
}
