//! The S3 backend, for AWS and its clones, by the AWS SDK.

use super::{
    ObjectInfo, Parts, Reader, Store, Unfinished, Upload, check_key, check_prefix, check_range, delete_each, too_short,
};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
};
use async_trait::async_trait;
use aws_config::{environment::EnvironmentVariableRegionProvider, meta::region::RegionProviderChain};
use aws_config::{profile::ProfileFileRegionProvider, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::{
        Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    primitives::ByteStream,
    types::{
        ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier, ServerSideEncryption,
        StorageClass,
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    fmt,
    future::Future,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use time::OffsetDateTime;

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

const DEFAULT_REGION: &str = "us-east-1";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

/// Objects that one request may delete (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>), and such
/// requests at a time.
const BATCH: usize = 1000;
const BATCHES: usize = 4;

/// How long a transfer may stand still before it is given up.
const STALL: Duration = Duration::from_secs(20);

/// Backups in an S3 bucket.
#[derive(Clone)]
pub struct S3Store(Arc<Inner>);

struct Inner {
    options: S3Options,
    /// Sends and checks the checksums that the SDK sends by default.
    checked: Client,
    /// Sends checksums only where S3 asks for one.
    plain: Client,
    /// Whether `plain` is in use.
    use_plain: AtomicBool,
    /// Whether the server refused to delete many objects by one request.
    no_batches: AtomicBool,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({})", self.0.uri(""))
    }
}

impl S3Store {
    /// Prepares access with credentials (and, when it is not named, the region) from the SDK's own chain: environment,
    /// profile, OIDC web identity, container, instance. Nothing is asked of the server yet.
    pub async fn open(options: &S3Options) -> Result<Self> {
        let named = options.region.clone().map(Region::new);
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest());
        loader = match &options.endpoint {
            // Not the whole chain: off AWS, asking the instance metadata for a region only waits for timeouts.
            Some(endpoint) => loader.endpoint_url(endpoint).region(
                RegionProviderChain::first_try(named)
                    .or_else(EnvironmentVariableRegionProvider::new())
                    .or_else(ProfileFileRegionProvider::new())
                    .or_else(Region::new(DEFAULT_REGION)),
            ),
            None => loader.region(RegionProviderChain::first_try(named).or_default_provider()),
        };
        let loaded = loader.load().await;
        // AWS_ENDPOINT_URL and the profile can name a clone too.
        let mut options = options.clone();
        options.endpoint = options.endpoint.or_else(|| loaded.endpoint_url().map(str::to_owned));
        let region = loaded.region().cloned();
        Self::build(options, aws_sdk_s3::config::Builder::from(&loaded), region)
    }

    /// As [`S3Store::open`], with a fixed access key in place of the SDK's chain.
    pub fn with_credentials(options: &S3Options, access_key: &str, secret: Secret) -> Result<Self> {
        let credentials = Credentials::new(access_key, secret.expose(), None, None, "savepoint");
        let config = Builder::new().behavior_version_latest().credentials_provider(credentials);
        Self::build(options.clone(), config, options.region.clone().map(Region::new))
    }

    fn build(options: S3Options, config: Builder, region: Option<Region>) -> Result<Self> {
        let custom = options.endpoint.is_some();
        let region = region.or(custom.then(|| Region::new(DEFAULT_REGION))).ok_or_else(|| {
            Error::new(Kind::Usage, format!("the region of the bucket {} is not known", options.bucket))
                .hint("name it by --s3-region (or AWS_REGION), such as --s3-region eu-central-1")
        })?;
        let mut config = config
            .region(region)
            .force_path_style(options.path_style.unwrap_or(custom))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts(0))
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled()
                    .upload_enabled(true)
                    .download_enabled(true)
                    .grace_period(STALL)
                    .build(),
            );
        if let Some(endpoint) = &options.endpoint {
            check_endpoint(endpoint)?;
            config = config.endpoint_url(endpoint);
        }
        let client = |request, response| {
            let config = config.clone().request_checksum_calculation(request);
            Client::from_conf(config.response_checksum_validation(response).build())
        };
        let checked = client(RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported);
        let plain = client(RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired);
        let use_plain = AtomicBool::new(options.checksums == S3Checksums::Off);
        Ok(Self(Arc::new(Inner { options, checked, plain, use_plain, no_batches: AtomicBool::new(false) })))
    }
}

impl Inner {
    fn full_key(&self, key: &str) -> String {
        if self.options.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.options.prefix) }
    }

    /// The key as the server knows it; an error when S3 could not hold it.
    fn checked_key(&self, key: &str) -> Result<String> {
        check_key(key)?;
        let full = self.full_key(key);
        check_key(&full)?;
        Ok(full)
    }

    fn uri(&self, key: &str) -> String {
        format!("s3://{}/{}", self.options.bucket, self.full_key(key))
    }

    fn sse(&self) -> Option<ServerSideEncryption> {
        self.options.sse.as_deref().map(ServerSideEncryption::from)
    }

    fn storage_class(&self) -> Option<StorageClass> {
        self.options.storage_class.as_deref().map(StorageClass::from)
    }

    /// Sends a request. `send` is given the client, and whether it is the one that sends checksums; with
    /// [`S3Checksums::Auto`] a refusal that may be due to them is tried once without, and when that helps the store does
    /// without them from then on.
    async fn call<T, E, F>(&self, send: impl Fn(Client, bool) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, SdkError<E>>>,
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        if self.use_plain.load(Ordering::Relaxed) {
            return send(self.plain.clone(), false).await.map_err(Failure::new);
        }
        match send(self.checked.clone(), true).await.map_err(Failure::new) {
            Err(failure) if self.options.checksums == S3Checksums::Auto && failure.may_be_checksums() => {
                let done = send(self.plain.clone(), false).await.map_err(Failure::new)?;
                self.use_plain.store(true, Ordering::Relaxed);
                Ok(done)
            }
            done => done,
        }
    }

    fn error(&self, op: Op, key: &str, failure: Failure) -> Error {
        failure.explain(op, &self.uri(key), &self.options)
    }

    /// Size and ETag of an object; `None` when it is not there.
    async fn head(&self, full_key: &str) -> Result<Option<(u64, Option<String>)>, Failure> {
        let head = self
            .call(|client, _| client.head_object().bucket(&self.options.bucket).key(full_key).send())
            .await
            .map(|head| Some((size(head.content_length), head.e_tag)));
        match head {
            Err(f) if f.status == Some(404) && f.code.as_deref() != Some("NoSuchBucket") => Ok(None),
            head => head,
        }
    }

    /// One request for a part of a listing.
    async fn page(&self, prefix: &str, delimiter: Option<&str>, token: Option<String>) -> Result<ListPage> {
        let full = self.full_key(prefix);
        let skip = self.full_key("").len();
        let page = self
            .call(|client, _| {
                let list = client.list_objects_v2().bucket(&self.options.bucket).prefix(&full);
                list.set_delimiter(delimiter.map(str::to_owned)).set_continuation_token(token.clone()).send()
            })
            .await
            .map_err(|f| self.error(Op::List, prefix, f))?;
        let next = match page.next_continuation_token {
            Some(next) if page.is_truncated == Some(true) && token.as_ref() != Some(&next) => Some(next),
            // Half a list would hide backups.
            _ if page.is_truncated == Some(true) => {
                let message =
                    format!("cannot list {}: the server does not say where its list goes on", self.uri(prefix));
                return Err(Error::new(Kind::Store, message));
            }
            _ => None,
        };
        let mut objects = Vec::new();
        for object in page.contents.unwrap_or_default() {
            // Consoles store empty `folder/` objects; they are none of ours.
            let Some(key) = object.key.as_deref().and_then(|k| k.get(skip..)).filter(|k| check_key(k).is_ok()) else {
                continue;
            };
            let modified = object.last_modified.and_then(|t| OffsetDateTime::from_unix_timestamp(t.secs()).ok());
            let modified = modified.unwrap_or(OffsetDateTime::UNIX_EPOCH);
            objects.push(ObjectInfo { key: key.to_owned(), size: size(object.size), modified });
        }
        let folders = page.common_prefixes.unwrap_or_default().into_iter().filter_map(|p| p.prefix);
        let folders = folders.filter_map(|p| Some(p.get(skip..)?.to_owned())).filter(|p| check_prefix(p).is_ok());
        Ok(ListPage { folders: folders.collect(), objects, next })
    }

    /// Drops an unfinished upload; no error when it has ended.
    async fn abort(&self, key: &str, full_key: &str, id: &str) -> Result<()> {
        let aborted = self
            .call(|client, _| {
                let abort = client.abort_multipart_upload().bucket(&self.options.bucket);
                abort.key(full_key).upload_id(id).send()
            })
            .await;
        match aborted {
            Err(f) if f.code.as_deref() == Some("NoSuchUpload") => Ok(()),
            aborted => aborted.map(drop).map_err(|f| self.error(Op::Abort, key, f)),
        }
    }

    /// One request for an object or a range of it.
    async fn get(&self, full_key: &str, range: Option<&Range<u64>>, etag: Option<&str>) -> Result<Got, Failure> {
        let got = self
            .call(|client, _| {
                let mut get = client.get_object().bucket(&self.options.bucket).key(full_key);
                if let Some(range) = range {
                    get = get.range(format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
                }
                get.set_if_match(etag.map(str::to_owned)).send()
            })
            .await?;
        let len = size(got.content_length);
        let total = got.content_range.as_deref().and_then(|r| r.rsplit_once('/')?.1.parse().ok());
        Ok(Got { body: got.body, len, total, etag: got.e_tag })
    }

    /// Stores an object by one request. With `only_new`, `Ok(false)` when it exists already.
    async fn put_once(&self, full_key: &str, body: &Bytes, only_new: bool) -> Result<(), Failure> {
        self.call(|client, _| {
            let mut config = Builder::new().timeout_config(timeouts(body.len()));
            if only_new {
                // A retry inside the SDK could meet the object that its own first try stored, and call it someone else's.
                config = config.retry_config(RetryConfig::disabled());
            }
            let put = client
                .put_object()
                .bucket(&self.options.bucket)
                .key(full_key)
                .body(ByteStream::from(body.clone()))
                .content_type(content_type(full_key))
                .set_storage_class(self.storage_class())
                .set_server_side_encryption(self.sse())
                .set_ssekms_key_id(self.options.kms_key_id.clone())
                .set_if_none_match(only_new.then(|| "*".to_owned()));
            put.customize().config_override(config).send()
        })
        .await
        .map(drop)
    }
}

/// An answer to ListObjectsV2; keys are relative to the destination.
struct ListPage {
    objects: Vec<ObjectInfo>,
    folders: Vec<String>,
    /// Where the listing goes on.
    next: Option<String>,
}

/// An answer to GetObject.
struct Got {
    body: ByteStream,
    /// Bytes in the body.
    len: u64,
    /// Bytes in the whole object, when a range was asked for.
    total: Option<u64>,
    etag: Option<String>,
}

#[async_trait]
impl Store for S3Store {
    fn uri(&self, key: &str) -> String {
        self.0.uri(key)
    }

    async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        let full = self.0.checked_key(key)?;
        self.0.put_once(&full, &body, false).await.map_err(|f| self.0.error(Op::Put, key, f))
    }

    /// By `If-None-Match: *`, so that of several writers one wins. A server that does not know the condition (some refuse
    /// it, some ignore it) is only asked beforehand whether the object is there.
    async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        let full = self.0.checked_key(key)?;
        let exists = || Error::new(Kind::Exists, format!("{} exists already", self.uri(key)));
        // A role without s3:GetObject or s3:ListBucket is told nothing here: the condition decides.
        match self.0.head(&full).await {
            Ok(Some(_)) => return Err(exists()),
            Err(f) if f.status != Some(403) => return Err(self.0.error(Op::Head, key, f)),
            _ => {}
        }
        let mut perhaps_stored = false;
        let mut attempt = 1;
        loop {
            let failure = match self.0.put_once(&full, &body, true).await {
                Ok(()) => return Ok(()),
                Err(f) => f,
            };
            match failure.status {
                Some(412) if perhaps_stored && self.holds(&full, &body).await => return Ok(()),
                Some(412) => return Err(exists()),
                Some(501) => {
                    let put = self.0.put_once(&full, &body, false).await;
                    return put.map_err(|f| self.0.error(Op::Put, key, f));
                }
                _ if attempt < ATTEMPTS && failure.is_transient() => {
                    perhaps_stored |= failure.status.is_none_or(|s| s >= 500);
                    tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
                    attempt += 1;
                }
                _ => return Err(self.0.error(Op::Put, key, failure)),
            }
        }
    }

    async fn create_upload(&self, key: &str) -> Result<Arc<dyn Upload>> {
        let inner = &self.0;
        let full = inner.checked_key(key)?;
        let created = inner
            .call(|client, checked| {
                client
                    .create_multipart_upload()
                    .bucket(&inner.options.bucket)
                    .key(&full)
                    .content_type(content_type(&full))
                    // The algorithm that the SDK uses for the parts; S3 wants it named here.
                    .set_checksum_algorithm(checked.then_some(ChecksumAlgorithm::Crc32))
                    .set_storage_class(inner.storage_class())
                    .set_server_side_encryption(inner.sse())
                    .set_ssekms_key_id(inner.options.kms_key_id.clone())
                    .send()
            })
            .await
            .map_err(|f| inner.error(Op::CreateUpload, key, f))?;
        let id = created.upload_id.ok_or_else(|| {
            Error::new(
                Kind::Store,
                format!("cannot begin the upload of {}: the answer has no upload id", inner.uri(key)),
            )
        })?;
        let (store, key) = (self.clone(), key.to_owned());
        Ok(Arc::new(S3Upload {
            store,
            key,
            full,
            id,
            parts: Mutex::new(Parts::new()),
            completed: AtomicBool::new(false),
        }))
    }

    async fn open(&self, key: &str, range: Option<Range<u64>>) -> Result<Reader> {
        let full = self.0.checked_key(key)?;
        let uri = self.uri(key);
        if let Some(range) = &range {
            check_range(&uri, range)?;
            // S3 has no way to ask for nothing.
            if range.is_empty() {
                let head = self.0.head(&full).await.map_err(|f| self.0.error(Op::Head, key, f))?;
                let (size, _) = head.ok_or_else(|| Error::new(Kind::NotFound, format!("{uri} does not exist")))?;
                let stream = Box::pin(stream::empty());
                return if range.end > size {
                    Err(too_short(&uri, Some(size), range))
                } else {
                    Ok(Reader { size, stream })
                };
            }
        }
        let got = match (self.0.get(&full, range.as_ref(), None).await, &range) {
            (Err(f), Some(range)) if f.status == Some(416) => return Err(too_short(&uri, None, range)),
            (got, _) => got.map_err(|f| self.0.error(Op::Get, key, f))?,
        };
        let (size, range) = match range {
            None => (got.len, 0..got.len),
            Some(range) => {
                let size = got.total.ok_or_else(|| {
                    Error::new(Kind::Store, format!("cannot read a range of {uri}: the server sent the whole object"))
                })?;
                if got.len != range.end - range.start {
                    return Err(too_short(&uri, Some(size), &range));
                }
                (size, range)
            }
        };
        let download = Download {
            store: self.clone(),
            key: key.to_owned(),
            full,
            left: range,
            etag: got.etag,
            body: got.body,
            retries: 0,
        };
        Ok(Reader { size, stream: Box::pin(stream::try_unfold(download, Download::next)) })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        check_prefix(prefix)?;
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = self.0.page(prefix, None, token).await?;
            found.extend(page.objects);
            match page.next {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn list_at_once(&self, prefix: &str) -> Result<Option<Vec<ObjectInfo>>> {
        check_prefix(prefix)?;
        let mut page = self.0.page(prefix, None, None).await?;
        page.objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(page.next.is_none().then_some(page.objects))
    }

    async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        check_prefix(folder)?;
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = self.0.page(folder, Some("/"), token).await?;
            found.extend(page.folders);
            match page.next {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let full = self.0.checked_key(key)?;
        let deleted =
            self.0.call(|client, _| client.delete_object().bucket(&self.0.options.bucket).key(&full).send()).await;
        match deleted {
            Err(f) if f.code.as_deref() == Some("NoSuchKey") => Ok(()),
            deleted => deleted.map(drop).map_err(|f| self.0.error(Op::Delete, key, f)),
        }
    }

    /// By requests for up to 1,000 objects each, where the server knows them.
    async fn delete_many(&self, keys: &[String]) -> Vec<(String, Error)> {
        let batches: Vec<_> = keys.chunks(BATCH).map(|batch| self.delete_batch(batch)).collect();
        stream::iter(batches).buffer_unordered(BATCHES).map(stream::iter).flatten().collect().await
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        check_prefix(prefix)?;
        let inner = &self.0;
        let (full, skip) = (inner.full_key(prefix), inner.full_key("").len());
        let mut found = Vec::new();
        let mut marker: Option<(String, Option<String>)> = None;
        loop {
            let (key, id) = marker.clone().unzip();
            let page = inner
                .call(|client, _| {
                    let list = client.list_multipart_uploads().bucket(&inner.options.bucket).prefix(&full);
                    list.set_key_marker(key.clone()).set_upload_id_marker(id.clone().flatten()).send()
                })
                .await
                .map_err(|f| inner.error(Op::ListUploads, prefix, f))?;
            for upload in page.uploads.unwrap_or_default() {
                let (Some(key), Some(id)) = (upload.key, upload.upload_id) else { continue };
                let Some(key) = key.get(skip..).filter(|k| check_key(k).is_ok()) else { continue };
                let begun = upload.initiated.and_then(|t| OffsetDateTime::from_unix_timestamp(t.secs()).ok());
                // One whose age is not known counts as young.
                let begun = begun.unwrap_or_else(OffsetDateTime::now_utc);
                found.push(Unfinished { key: key.to_owned(), begun, id });
            }
            let next = page.next_key_marker.filter(|k| !k.is_empty()).map(|key| (key, page.next_upload_id_marker));
            // Fewer than there are do no harm: they are asked for again.
            if page.is_truncated != Some(true) || next.is_none() || next == marker {
                return Ok(found);
            }
            marker = next;
        }
    }

    async fn abort_upload(&self, upload: &Unfinished) -> Result<()> {
        self.0.abort(&upload.key, &self.0.full_key(&upload.key), &upload.id).await
    }
}

impl S3Store {
    /// Removes up to [`BATCH`] objects; those that stay.
    async fn delete_batch(&self, keys: &[String]) -> Vec<(String, Error)> {
        let inner = &self.0;
        let named = keys.iter().map(|key| ObjectIdentifier::builder().key(inner.checked_key(key).ok()?).build().ok());
        let named: Option<Vec<ObjectIdentifier>> = named.collect();
        let delete = named.and_then(|named| Delete::builder().set_objects(Some(named)).quiet(true).build().ok());
        let Some(delete) = delete.filter(|_| !inner.no_batches.load(Ordering::Relaxed)) else {
            return delete_each(self, keys).await;
        };
        let answer = inner
            .call(|client, _| {
                let request = client.delete_objects().bucket(&inner.options.bucket).delete(delete.clone());
                let config = Builder::new().timeout_config(limits(Duration::from_secs(120), Duration::from_secs(300)));
                request.customize().config_override(config).send()
            })
            .await;
        let left: Vec<String> = match answer {
            Ok(answer) => {
                let skip = inner.full_key("").len();
                let refused = answer.errors.unwrap_or_default().into_iter().filter_map(|e| e.key);
                refused.filter_map(|key| key.get(skip..).map(str::to_owned)).collect()
            }
            Err(failure) => {
                // Old clones ask for a Content-MD5, which the SDK no longer sends, or do not know the request at all.
                if failure.status.is_some() && !failure.is_transient() {
                    inner.no_batches.store(true, Ordering::Relaxed);
                }
                keys.to_vec()
            }
        };
        // One by one it is seen whether the server means it, and why.
        delete_each(self, &left).await
    }

    /// Whether an object holds exactly these bytes, as far as can be found out.
    async fn holds(&self, full_key: &str, body: &Bytes) -> bool {
        match self.0.get(full_key, None, None).await {
            Ok(got) => got.len == body.len() as u64 && got.body.collect().await.is_ok_and(|b| b.into_bytes() == *body),
            Err(_) => false,
        }
    }
}

/// A download that goes on where it was when the connection breaks.
struct Download {
    store: S3Store,
    key: String,
    full: String,
    left: Range<u64>,
    etag: Option<String>,
    body: ByteStream,
    retries: u32,
}

impl Download {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        loop {
            let failure = match self.body.try_next().await {
                Ok(Some(chunk)) => {
                    self.left.start += chunk.len() as u64;
                    return Ok(Some((chunk, self)));
                }
                Ok(None) if self.left.start >= self.left.end => return Ok(None),
                Ok(None) => Failure::transport("the connection ended before the object did"),
                // At the end the only failure is a checksum that differs, which no second try can cure.
                Err(e) => Failure::transport(&chain(&e)),
            };
            if self.left.is_empty() || self.retries >= ATTEMPTS - 1 {
                return Err(self.store.0.error(Op::Get, &self.key, failure));
            }
            self.retries += 1;
            tokio::time::sleep(Duration::from_millis(250 << self.retries)).await;
            let again = self.store.0.get(&self.full, Some(&self.left), self.etag.as_deref()).await;
            let again = again.map_err(|f| self.store.0.error(Op::Get, &self.key, f))?;
            if again.len != self.left.end - self.left.start {
                return Err(too_short(&self.store.uri(&self.key), again.total, &self.left));
            }
            self.body = again.body;
        }
    }
}

/// What S3 gave back for a part.
#[derive(Debug)]
struct PartTag {
    etag: Option<String>,
    crc32: Option<String>,
}

#[derive(Debug)]
struct S3Upload {
    store: S3Store,
    key: String,
    full: String,
    id: String,
    parts: Mutex<Parts<PartTag>>,
    completed: AtomicBool,
}

impl S3Upload {
    fn parts(&self) -> MutexGuard<'_, Parts<PartTag>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn completed_parts(&self, checked: bool) -> CompletedMultipartUpload {
        let parts = self
            .parts()
            .0
            .iter()
            .map(|(&number, (_, _, tag))| {
                let part = CompletedPart::builder().part_number(number.cast_signed()).set_e_tag(tag.etag.clone());
                part.set_checksum_crc32(tag.crc32.clone().filter(|_| checked)).build()
            })
            .collect();
        CompletedMultipartUpload::builder().set_parts(Some(parts)).build()
    }

    /// Whether the object stands there as this upload would have made it.
    async fn stands(&self, total: u64) -> bool {
        let parts = self.parts().0.len();
        match self.store.0.head(&self.full).await {
            // The ETag of an object of n parts ends with `-n`; some clones and KMS give another kind.
            Ok(Some((size, etag))) => {
                let tagged =
                    etag.as_deref().and_then(|t| t.trim_matches('"').rsplit_once('-')?.1.parse::<usize>().ok());
                size == total && tagged.is_none_or(|n| n == parts)
            }
            _ => false,
        }
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn put_part(&self, number: u32, offset: u64, body: Bytes) -> Result<()> {
        let inner = &self.store.0;
        Parts::<PartTag>::check_number(&inner.uri(&self.key), number)?;
        let part = inner
            .call(|client, _| {
                let part = client
                    .upload_part()
                    .bucket(&inner.options.bucket)
                    .key(&self.full)
                    .upload_id(&self.id)
                    .part_number(number.cast_signed())
                    .body(ByteStream::from(body.clone()));
                part.customize().config_override(Builder::new().timeout_config(timeouts(body.len()))).send()
            })
            .await
            .map_err(|f| inner.error(Op::PutPart(number), &self.key, f))?;
        let tag = PartTag { etag: part.e_tag, crc32: part.checksum_crc32 };
        self.parts().0.insert(number, (offset, body.len() as u64, tag));
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let inner = &self.store.0;
        let total = self.parts().total(&inner.uri(&self.key))?;
        let completed = inner
            .call(|client, checked| {
                let complete = client
                    .complete_multipart_upload()
                    .bucket(&inner.options.bucket)
                    .key(&self.full)
                    .upload_id(&self.id)
                    .multipart_upload(self.completed_parts(checked));
                // The server may have to join thousands of parts before it answers.
                let config = Builder::new().timeout_config(limits(Duration::from_secs(120), Duration::from_secs(300)));
                complete.customize().config_override(config).send()
            })
            .await;
        if let Err(failure) = completed {
            // The answer to a completion that worked may have been lost.
            let unsure = failure.is_transient() || failure.code.as_deref() == Some("NoSuchUpload");
            if !(unsure && self.stands(total).await) {
                return Err(inner.error(Op::Complete, &self.key, failure));
            }
        }
        self.completed.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        if self.completed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.store.0.abort(&self.key, &self.full, &self.id).await
    }
}

fn content_type(key: &str) -> &'static str {
    if key.ends_with(".json") { "application/json" } else { "application/octet-stream" }
}

fn size(n: Option<i64>) -> u64 {
    n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

/// The limits of a request with a body of `bytes`: 32 KiB/s is the slowest line that we still wait for.
fn timeouts(bytes: usize) -> TimeoutConfig {
    let attempt = Duration::from_secs(15 + bytes as u64 / (32 * 1024));
    limits(attempt, attempt * 3)
}

fn limits(attempt: Duration, all: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(all)
        .build()
}

fn check_endpoint(endpoint: &str) -> Result<()> {
    let wrong = |why: &str| {
        // Not the value itself: it may hold a password.
        Error::new(Kind::Usage, format!("the S3 endpoint {why}"))
            .hint("give --s3-endpoint as https://host or http://host:port")
    };
    let Some(rest) = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://")) else {
        return Err(wrong("is no http or https URL"));
    };
    match rest.split(['/', '?', '#']).next() {
        Some("") | None => Err(wrong("has no host")),
        Some(authority) if authority.contains('@') => Err(wrong("must not hold credentials")),
        _ => Ok(()),
    }
}

/// What was asked of S3.
#[derive(Clone, Copy, Debug)]
enum Op {
    Put,
    Get,
    Head,
    List,
    ListUploads,
    Delete,
    CreateUpload,
    PutPart(u32),
    Complete,
    Abort,
}

impl Op {
    /// The permission that the request needs
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html>).
    fn permission(self) -> &'static str {
        match self {
            Op::Put | Op::CreateUpload | Op::PutPart(_) | Op::Complete => "s3:PutObject",
            Op::Get | Op::Head => "s3:GetObject",
            Op::List => "s3:ListBucket",
            Op::ListUploads => "s3:ListBucketMultipartUploads",
            Op::Delete => "s3:DeleteObject",
            Op::Abort => "s3:AbortMultipartUpload",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Op::Put => "cannot store",
            Op::Get => "cannot read",
            Op::Head => "cannot look up",
            Op::List => "cannot list",
            Op::ListUploads => "cannot list the unfinished uploads below",
            Op::Delete => "cannot delete",
            Op::CreateUpload => "cannot begin the upload of",
            Op::PutPart(n) => return write!(f, "cannot store part {n} of"),
            Op::Complete => "cannot complete the upload of",
            Op::Abort => "cannot abort the upload of",
        })
    }
}

/// Why a request failed, without the SDK's type for each request.
#[derive(Debug, Default)]
struct Failure {
    /// HTTP status, when there was an answer.
    status: Option<u16>,
    /// S3's error code; absent also in answers without a body, such as those to HEAD.
    code: Option<String>,
    /// S3's message, or the chain of causes when there was no answer.
    message: String,
    /// No answer within the limit.
    timeout: bool,
    /// The region that the bucket lies in, where the answer names it.
    region: Option<String>,
}

impl Failure {
    fn new<E: std::error::Error + ProvideErrorMetadata + 'static>(error: SdkError<E>) -> Self {
        let response = error.raw_response();
        let answered = matches!(error, SdkError::ServiceError(_));
        Failure {
            status: response.map(|r| r.status().as_u16()),
            region: response.and_then(|r| r.headers().get("x-amz-bucket-region")).map(str::to_owned),
            timeout: matches!(error, SdkError::TimeoutError(_)),
            code: error.code().map(str::to_owned),
            message: if answered { error.message().unwrap_or_default().to_owned() } else { chain(&error) },
        }
    }

    /// A connection that broke in the middle of an answer.
    fn transport(message: &str) -> Self {
        Failure { message: message.to_owned(), ..Failure::default() }
    }

    fn is_transient(&self) -> bool {
        match self.status {
            None => !self.lacks_credentials(),
            Some(status) => status == 409 || status == 429 || (status >= 500 && status != 501),
        }
    }

    fn lacks_credentials(&self) -> bool {
        self.status.is_none() && self.message.contains("credential")
    }

    /// Whether a server that does not know the SDK's checksums might answer so. Seen or reported of R2, Backblaze, GCS,
    /// Ceph and older MinIO.
    fn may_be_checksums(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        let named =
            ["checksum", "trailer", "crc32", "content-sha256", "aws-chunked"].iter().any(|w| message.contains(w));
        match self.code.as_deref() {
            // A body that was damaged on its way is no reason to check less.
            Some("BadDigest") => false,
            Some("InvalidRequest" | "InvalidArgument" | "InvalidDigest" | "MalformedXML") => {
                named || message.is_empty()
            }
            Some("NotImplemented" | "XAmzContentSHA256Mismatch" | "MissingContentLength" | "SignatureDoesNotMatch") => {
                true
            }
            _ => self.status == Some(501) || (self.status == Some(400) && named),
        }
    }

    /// Whether an object stays because it is under a lock, a legal hold or a retention rule. The codes and words of R2, Google
    /// Cloud, Wasabi, Ceph, MinIO, versitygw and SeaweedFS.
    fn is_held(&self) -> bool {
        const CODES: [&str; 5] = [
            "ObjectLockedByBucketPolicy",
            "RetentionPolicyNotMet",
            "ObjectUnderActiveHold",
            "ObjectLocked",
            "FileImmutable",
        ];
        const WORDS: [&str; 6] = ["object lock", "retention", "legal hold", "worm", "immutable", "is locked"];
        let message = self.message.to_ascii_lowercase();
        let refused = matches!(self.status, Some(400 | 403 | 405 | 409));
        refused
            && (self.code.as_deref().is_some_and(|c| CODES.contains(&c)) || WORDS.iter().any(|w| message.contains(w)))
    }

    fn explain(self, op: Op, uri: &str, options: &S3Options) -> Error {
        let code = self.code.as_deref().unwrap_or_default();
        let status = self.status.unwrap_or_default();
        let lost = match op {
            Op::Get => code == "NoSuchKey" || (status == 404 && code != "NoSuchBucket"),
            _ => false,
        };
        if lost {
            return Error::new(Kind::NotFound, format!("{uri} does not exist"));
        }
        let place = options.endpoint.as_deref().unwrap_or("AWS S3");
        let reason = match self.status {
            None if self.timeout => format!("no answer from {place} in time: {}", self.message),
            None if self.lacks_credentials() => format!("no credentials: {}", self.message),
            None => format!("no connection to {place}: {}", self.message),
            Some(_) => {
                let name = if code.is_empty() { "refused" } else { code };
                let message = self.message.trim_end_matches('.');
                format!("{name} (HTTP {status}){}{message}", if message.is_empty() { "" } else { ": " })
            }
        };
        if matches!(op, Op::Delete) && self.is_held() {
            return Error::new(Kind::Locked, format!("{op} {uri}: {reason}")).hint(
                "the bucket holds it back by an object lock or a retention rule: it can be deleted when that has ended",
            );
        }
        let error = Error::new(Kind::Store, format!("{op} {uri}: {reason}"));
        match self.hint(op, uri, options) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn hint(&self, op: Op, uri: &str, options: &S3Options) -> Option<String> {
        let bucket = &options.bucket;
        let key = uri.strip_prefix("s3://").unwrap_or(uri);
        let code = self.code.as_deref().unwrap_or_default();
        let message = &self.message;
        Some(match (code, self.status) {
            (_, None) if self.lacks_credentials() => "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE), or on \
                GitHub let aws-actions/configure-aws-credentials assume a role before this step (permissions: id-token: write)"
                .into(),
            (_, None) if options.endpoint.is_some() => {
                "check that --s3-endpoint names the right host and port, and that the server runs and can be reached".into()
            }
            (_, None) => "check that this machine can reach AWS S3, or name your server by --s3-endpoint".into(),
            ("NoSuchBucket", _) => format!("create the bucket {bucket}, or correct --destination"),
            ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidSecurity", _) => {
                "the access key or its secret is wrong: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, also for stray blanks"
                    .into()
            }
            ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "ExpiredTokenException", _) => {
                "the session's credentials are no longer valid: get new ones; a long backup needs a longer role session".into()
            }
            ("RequestTimeTooSkewed" | "RequestExpired", _) => "this machine's clock is wrong: set it by NTP".into(),
            (
                "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException",
                _,
            )
            | (_, Some(301 | 307)) => match &self.region {
                Some(region) => format!("the bucket lies in another region: --s3-region {region}"),
                None => "name the bucket's own region by --s3-region".into(),
            },
            (code, _) if code.starts_with("KMS.") || message.contains("kms:") => {
                "allow kms:GenerateDataKey and kms:Decrypt on the key, and check --s3-kms-key-id".into()
            }
            ("InvalidStorageClass", _) => "name a storage class that the server knows by --s3-storage-class".into(),
            ("SlowDown" | "TooManyRequests", _) | (_, Some(429)) => "lower --jobs, or try again later".into(),
            ("XMinioStorageFull" | "QuotaExceeded", _) | (_, Some(507)) => "the server's storage is full: free some space".into(),
            ("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden", _) | (_, Some(401 | 403)) => {
                let permission = op.permission();
                match op {
                    Op::List => format!("allow {permission} on arn:aws:s3:::{bucket}"),
                    // Without the right to list, S3 says so too of an object that is not there.
                    Op::Get | Op::Head => {
                        format!("allow {permission} on arn:aws:s3:::{key} and s3:ListBucket on arn:aws:s3:::{bucket}")
                    }
                    _ => format!("allow {permission} on arn:aws:s3:::{key}"),
                }
            }
            _ if options.checksums == S3Checksums::Required && self.may_be_checksums() => {
                "the server may not know the checksums: --s3-checksums auto".into()
            }
            ("NotImplemented", _) | (_, Some(501)) if options.sse.is_some() || options.storage_class.is_some() => {
                "the server may not know --s3-sse or --s3-storage-class: leave them out".into()
            }
            _ => return None,
        })
    }
}

/// An error and its causes in one line; the SDK's own Display shows only the outermost.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(c) = cause {
        let text = c.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = c.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, code: &str, message: &str) -> Failure {
        let code = (!code.is_empty()).then(|| code.to_owned());
        Failure { status: Some(status), code, message: message.into(), ..Failure::default() }
    }

    fn explain(failure: Failure, op: Op, options: &S3Options) -> (Kind, String, String) {
        let e = failure.explain(op, "s3://shop/db/key", options);
        (e.kind(), e.one_line(), e.hint_text().unwrap_or_default().to_owned())
    }

    #[test]
    fn refusals_of_checksums_are_told_from_other_errors() {
        for (status, code, message) in [
            (501, "NotImplemented", "STREAMING-UNSIGNED-PAYLOAD-TRAILER not implemented"),
            (501, "", ""),
            (400, "InvalidRequest", "The algorithm of x-amz-sdk-checksum is not supported"),
            (400, "InvalidArgument", "Unsupported header x-amz-trailer"),
            (400, "XAmzContentSHA256Mismatch", ""),
            (400, "MalformedXML", "unknown element ChecksumCRC32"),
        ] {
            assert!(failure(status, code, message).may_be_checksums(), "{code} {message}");
        }
        for (status, code, message) in [
            (400, "BadDigest", "the crc32 checksum did not match"),
            (400, "InvalidArgument", "the storage class is not known"),
            (403, "AccessDenied", "Access Denied"),
            (404, "NoSuchBucket", ""),
            (503, "SlowDown", ""),
        ] {
            assert!(!failure(status, code, message).may_be_checksums(), "{code} {message}");
        }
    }

    #[test]
    fn a_held_object_is_told_from_a_missing_permission() {
        let aws = S3Options::default();
        for (status, code, message) in [
            (403, "AccessDenied", "Access Denied because object protected by object lock."),
            (400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"),
            (403, "ObjectLockedByBucketPolicy", ""),
            (403, "RetentionPolicyNotMet", ""),
        ] {
            let (kind, line, _) = explain(failure(status, code, message), Op::Delete, &aws);
            assert_eq!(kind, Kind::Locked, "{line}");
            assert!(line.contains(code), "{line}");
            assert_eq!(explain(failure(status, code, message), Op::Put, &aws).0, Kind::Store, "{line}");
        }
        assert_eq!(explain(failure(403, "AccessDenied", "Access Denied."), Op::Delete, &aws).0, Kind::Store);
    }

    #[test]
    fn errors_name_the_object_the_reason_and_the_cure() {
        let aws = S3Options { bucket: "shop".into(), ..S3Options::default() };
        let missing = explain(failure(404, "NoSuchKey", "gone."), Op::Get, &aws);
        assert_eq!(missing, (Kind::NotFound, "s3://shop/db/key does not exist".into(), String::new()));
        let (kind, line, hint) = explain(failure(403, "AccessDenied", "Access Denied."), Op::PutPart(3), &aws);
        assert_eq!(kind, Kind::Store);
        assert_eq!(line, "cannot store part 3 of s3://shop/db/key: AccessDenied (HTTP 403): Access Denied");
        assert_eq!(hint, "allow s3:PutObject on arn:aws:s3:::shop/db/key");
        let hint = |f, op| explain(f, op, &aws).2;
        assert_eq!(hint(failure(403, "", ""), Op::List), "allow s3:ListBucket on arn:aws:s3:::shop");
        assert!(hint(failure(403, "AccessDenied", ""), Op::Abort).contains("s3:AbortMultipartUpload"));
        assert!(
            hint(failure(403, "AccessDenied", "not authorized to perform: kms:GenerateDataKey"), Op::Put)
                .contains("kms:Decrypt")
        );
        let moved = Failure { region: Some("eu-west-3".into()), ..failure(301, "PermanentRedirect", "") };
        assert!(hint(moved, Op::List).contains("--s3-region eu-west-3"));
        assert!(hint(failure(400, "AuthorizationHeaderMalformed", ""), Op::List).contains("--s3-region"));
        assert!(hint(failure(403, "RequestTimeTooSkewed", ""), Op::Put).contains("clock"));
        assert!(hint(failure(400, "ExpiredToken", ""), Op::Put).contains("get new ones"));
        let none = Failure::transport("dispatch failure: no providers in chain provided credentials");
        assert!(!none.is_transient());
        assert!(hint(none, Op::Put).contains("configure-aws-credentials"));
        assert!(hint(Failure::transport("dispatch failure: connection refused"), Op::Put).contains("--s3-endpoint"));
        let required = S3Options { checksums: S3Checksums::Required, ..aws.clone() };
        assert!(explain(failure(501, "NotImplemented", ""), Op::Put, &required).2.contains("--s3-checksums auto"));
    }
}
