//! Where backups lie.

use super::text::Flag as _;
use crate::secret::Secret;
use clap::Args;

/// An access key of S3, from the environment.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// `…_ACCESS_KEY_ID`
    pub id: Option<String>,
    /// `…_SECRET_ACCESS_KEY`
    pub secret: Option<Secret>,
    /// `…_SESSION_TOKEN`
    pub token: Option<Secret>,
}

/// Where backups lie.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Destination")]
pub struct DestinationArgs {
    /// Where backups are stored: s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix, sftp://user@host:port/path,
    /// webdavs://host/path, dropbox://folder, gdrive://folder, vercel-blob://folder, or a folder (/path, ./path, file:///path); the
    /// credentials of each stand in variables: see docs/providers.md. Several hold a copy each; what differs between buckets of S3 stands
    /// behind a question mark (endpoint, region, storage-class, sse, kms-key-id, path-style, checksums, object-lock-mode, object-lock-days,
    /// profile, keys). Example: s3://a/app, s3://b/app?region=eu-west-1&keys=B, where B_ACCESS_KEY_ID and B_SECRET_ACCESS_KEY are variables
    #[arg(long, value_name = "DEST")]
    pub destination: Vec<String>,
    /// Keys of buckets, by the names that their addresses give them: looked up in the environment.
    #[arg(skip)]
    pub keys: Vec<(String, AccessKey)>,
    /// Endpoint of an S3 clone. Example: https://account.r2.cloudflarestorage.com
    #[arg(long, value_name = "URL")]
    pub s3_endpoint: Option<String>,
    /// Region; without it, that of the AWS environment, and us-east-1 for an S3 clone. Example: eu-central-1
    #[arg(long, value_name = "REGION")]
    pub s3_region: Option<String>,
    /// Address the bucket in the path, not the host name; without it, true with s3-endpoint. Example: --s3-path-style=false
    #[arg(long, open_flag())]
    pub s3_path_style: Option<String>,
    /// Storage class of what is stored. Example: STANDARD_IA
    #[arg(long, value_name = "CLASS")]
    pub s3_storage_class: Option<String>,
    /// Server-side encryption; without it, the bucket's own
    #[arg(long, value_name = "AES256|aws:kms")]
    pub s3_sse: Option<String>,
    /// Key for aws:kms. Example: alias/backups
    #[arg(long, value_name = "KEY")]
    pub s3_kms_key_id: Option<String>,
    /// Lock every object of a backup; the bucket must have object lock
    #[arg(long, value_name = "governance|compliance")]
    pub s3_object_lock_mode: Option<String>,
    /// For so many days from the beginning of the run. Example: 30
    #[arg(long, value_name = "N")]
    pub s3_object_lock_days: Option<String>,
    /// Put every object of a backup under a legal hold, which has no end
    #[arg(long, flag())]
    pub s3_legal_hold: String,
    /// Checksums sent with requests; auto: none where the server refuses them
    #[arg(long, value_name = "auto|required|off", default_value = "auto")]
    pub s3_checksums: String,
    /// Root certificates (PEM) besides those that this machine knows, for the S3 endpoint, mail and webhooks; without it, that
    /// of AWS_CA_BUNDLE for S3. Example: ./company-ca.pem
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<String>,
}
