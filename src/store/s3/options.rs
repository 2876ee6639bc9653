//! What can be said of a bucket: its address and options, and how they are checked.

use crate::{
    clock::{STALL, stamp},
    error::Result,
    roots::Roots,
    secret::Secret,
    store::{Lock, LockMode, place::Given},
    value::{choice, flag, usage},
};

use std::time::Duration;
use time::OffsetDateTime;

/// How the address of a bucket begins.
pub(super) const SCHEME: &str = "s3://";

/// Options that nothing but a bucket heeds.
pub(super) const OURS: &[&str] = &[
    "s3-endpoint",
    "s3-region",
    "s3-storage-class",
    "s3-sse",
    "s3-kms-key-id",
    "s3-object-lock-mode",
    "s3-object-lock-days",
    "s3-legal-hold",
];

/// The longest lock that S3 takes, in days.
const MOST_DAYS: u32 = 36_500;

/// A profile of the AWS configuration, for one of several buckets.
pub const PROFILE: &str = "s3-profile";
/// An access key's id, for one of several buckets.
pub const KEY_ID: &str = "s3-access-key-id";
/// An access key's secret, for one of several buckets.
pub const SECRET_KEY: &str = "s3-secret-access-key";
/// The token of a temporary access key, for one of several buckets.
pub const SESSION_TOKEN: &str = "s3-session-token";

/// An access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: Secret,
    /// The token of a temporary one.
    pub token: Option<Secret>,
}

/// An S3 bucket and how to talk to it. Credentials come from the SDK's own chain, unless it has keys of its own.
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
    /// Who may lift the lock of what is stored, and for how many days it is locked.
    pub lock: Option<(LockMode, u32)>,
    /// Put what is stored under a legal hold.
    pub legal_hold: bool,
    /// Nothing may be asked but to store; what the store answers is compared instead.
    pub put_only: bool,
    /// Which checksums are sent.
    pub checksums: S3Checksums,
    /// A profile of the AWS configuration in place of the usual one.
    pub profile: Option<String>,
    /// An access key in place of the SDK's chain.
    pub keys: Option<Keys>,
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

    /// The lock that is asked for. One date for all objects of a run: it is made once, when the bucket is opened.
    pub(super) fn lock_from(&self, now: OffsetDateTime) -> Option<Lock> {
        let (mode, days) = self.lock.unzip();
        let until = days.map(|days| stamp(now.saturating_add(time::Duration::days(days.into()))));
        (mode.is_some() || self.legal_hold).then_some(Lock { mode, until, legal_hold: self.legal_hold })
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
            lock: lock(given)?,
            legal_hold: given.option("s3-legal-hold").is_some(),
            put_only: given.put_only,
            checksums: choice("s3-checksums", given.option("s3-checksums").unwrap_or_default())?,
            profile: given.option(PROFILE).map(str::to_owned),
            keys: given.option(KEY_ID).zip(given.option(SECRET_KEY)).map(|(id, secret)| Keys {
                id: id.to_owned(),
                secret: Secret::new(secret),
                token: given.option(SESSION_TOKEN).map(Secret::new),
            }),
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

/// Both or neither: a mode without a date locks nothing, and S3 refuses it.
fn lock(given: &Given<'_>) -> Result<Option<(LockMode, u32)>> {
    let (mode, days) = (given.option("s3-object-lock-mode"), given.option("s3-object-lock-days"));
    let together = |is: &str, lacks: &str| {
        usage(format!("option {is}: {lacks} is not set"))
            .hint("give both, such as s3-object-lock-mode governance and s3-object-lock-days 30")
    };
    let (mode, days) = match (mode, days) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(together("s3-object-lock-mode", "s3-object-lock-days")),
        (None, Some(_)) => return Err(together("s3-object-lock-days", "s3-object-lock-mode")),
        (Some(mode), Some(days)) => (choice("s3-object-lock-mode", mode)?, days),
    };
    let number = days.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days));
    let number = number.ok_or_else(|| {
        usage(format!("option s3-object-lock-days: {days:?} is not a number from 1 to {MOST_DAYS}"))
            .hint("for example s3-object-lock-days 30")
    })?;
    Ok(Some((mode, number)))
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
