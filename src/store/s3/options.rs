//! What can be said of a bucket: its address and options, and how they are checked.

use crate::{
    clock::STALL,
    error::Result,
    roots::Roots,
    store::place::Given,
    value::{choice, flag, usage},
};

use std::time::Duration;

/// How the address of a bucket begins.
pub(super) const SCHEME: &str = "s3://";

/// Options that nothing but a bucket heeds.
pub(super) const OURS: &[&str] = &["s3-endpoint", "s3-region", "s3-storage-class", "s3-sse", "s3-kms-key-id"];

/// An S3 bucket and how to talk to it. Credentials come from the SDK's own chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct S3Options {
    /// Bucket name.
    pub bucket: String,
    /// Key prefix without a slash at either end; may be empty.
    pub prefix: String,
    /// Endpoint URL of an S3 clone; AWS when absent.
    pub endpoint: Option<String>,
    /// Region; else the SDK's chain, else `us-east-1`.
    pub region: Option<String>,
    /// `endpoint/bucket/key` in place of `bucket.endpoint/key`. `None`: on with a custom endpoint.
    pub path_style: Option<bool>,
    /// Storage class, such as `STANDARD_IA`.
    pub storage_class: Option<String>,
    /// Server-side encryption: `AES256` or `aws:kms`.
    pub sse: Option<String>,
    /// KMS key for `aws:kms`.
    pub kms_key_id: Option<String>,
    /// Which checksums are sent.
    pub checksums: S3Checksums,
    /// Root certificates besides the machine's own.
    pub roots: Option<Roots>,
    /// How long a transfer may stand still, all tries together; a minute when absent.
    pub stall: Option<Duration>,
}

/// Which checksums are sent with S3 requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum S3Checksums {
    /// The SDK's default, and without it when the server refuses it.
    #[default]
    Auto,
    /// Always; an error when the server refuses it.
    Required,
    /// Only where S3 asks for one.
    Off,
}

impl S3Options {
    pub(super) fn stall(&self) -> Duration {
        self.stall.unwrap_or(STALL)
    }

    /// Checks an address and its options.
    pub(super) fn check(given: &Given<'_>) -> Result<Self> {
        let (bucket, prefix) = bucket_and_prefix(given)?;
        let endpoint = given.option("s3-endpoint").map(endpoint).transpose()?;
        let path_style = given.option("s3-path-style").map(|text| flag("s3-path-style", text)).transpose()?;
        let storage_class = storage_class(given)?;
        let (sse, kms_key_id) = encryption(given)?;
        Ok(S3Options {
            bucket,
            prefix,
            endpoint,
            region: given.option("s3-region").map(str::to_owned),
            path_style,
            storage_class,
            sse,
            kms_key_id,
            checksums: choice("s3-checksums", given.option("s3-checksums").unwrap_or_default())?,
            roots: given.option("ca-file").map(|file| Roots::read(&given.below_base(file))).transpose()?,
            stall: Some(given.stall),
        })
    }
}

fn bucket_and_prefix(given: &Given<'_>) -> Result<(String, String)> {
    let rest = given.address.strip_prefix(SCHEME).unwrap_or(given.address);
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let bucket_fits = !bucket.is_empty() && bucket.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    if !bucket_fits {
        // Credentials in front of an @ must not be shown.
        let shown = bucket.rsplit('@').next().unwrap_or_default();
        return Err(given.refuse(&format!("{shown:?} is no plain bucket name")).hint(
            "write s3://bucket/prefix; credentials and the region stand elsewhere (AWS_* variables, s3-region)",
        ));
    }
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(given
            .refuse(&format!("the prefix {prefix:?} has an empty part or dots for a part"))
            .hint("write s3://bucket/prefix"));
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

fn endpoint(text: &str) -> Result<String> {
    let endpoint = text.trim_end_matches('/');
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    if host.is_none_or(|h| h.is_empty() || h.contains(['@', '?', '#']) || h.contains(char::is_whitespace)) {
        return Err(usage("option s3-endpoint: not a plain web address")
            .hint("write https://host or http://host:port, without credentials (AWS_ENDPOINT_URL counts too)"));
    }
    Ok(endpoint.to_owned())
}

fn storage_class(given: &Given<'_>) -> Result<Option<String>> {
    let class = given.option("s3-storage-class").map(str::to_ascii_uppercase);
    if let Some(class @ ("GLACIER" | "DEEP_ARCHIVE")) = class.as_deref()
        && given.read_back
    {
        return Err(usage(format!(
            "option s3-storage-class: {class} cannot be read back at once, so nothing can be proven"
        ))
        .hint("use GLACIER_IR, or a lifecycle rule that moves backups later, or verify none"));
    }
    Ok(class)
}

/// The kind of encryption, and its key.
fn encryption(given: &Given<'_>) -> Result<(Option<String>, Option<String>)> {
    let sse = match given.option("s3-sse") {
        None => None,
        Some(text) if text.eq_ignore_ascii_case("AES256") => Some("AES256".to_owned()),
        Some(text) if text.eq_ignore_ascii_case("aws:kms") => Some("aws:kms".to_owned()),
        Some(other) => {
            return Err(usage(format!("option s3-sse: {other:?} is not known")).hint("use AES256 or aws:kms"));
        }
    };
    let kms_key_id = given.option("s3-kms-key-id").map(str::to_owned);
    if kms_key_id.is_some() && sse.as_deref() != Some("aws:kms") {
        return Err(usage("option s3-kms-key-id: a key is used with aws:kms only").hint("set s3-sse to aws:kms"));
    }
    Ok((sse, kms_key_id))
}
