//! Where backups lie.

use super::text::Flag as _;
use clap::Args;

/// Where backups lie.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Destination")]
pub struct DestinationArgs {
    /// Where backups are stored: s3://bucket/prefix, gs://bucket/prefix, azblob://container/prefix, sftp://user@host:port/path,
    /// webdavs://host/path, dropbox://folder, gdrive://folder, vercel-blob://folder, or a folder (/path, ./path, file:///path); the
    /// credentials of each stand in variables: see docs/providers.md
    #[arg(long, value_name = "DEST")]
    pub destination: Option<String>,
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
    /// Checksums sent with requests; auto: none where the server refuses them
    #[arg(long, value_name = "auto|required|off", default_value = "auto")]
    pub s3_checksums: String,
}
