//! A bucket that can be spoken to: credentials, region, limits of time, and whether checksums are sent.

use super::{
    acknowledged::{Answers, Said, content_md5},
    failure::{Failure, Op},
    http,
    options::{Keys, S3Checksums, S3Options},
};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
    store::{
        Lock, Unfinished,
        key::check_key,
        pace::{ATTEMPTS, STALL_PARTS},
    },
};
use aws_config::{environment::EnvironmentVariableRegionProvider, meta::region::RegionProviderChain};
use aws_config::{profile::ProfileFileRegionProvider, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::{
    Client,
    config::{
        Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    types::{ServerSideEncryption, StorageClass},
};
use std::{
    fmt,
    future::Future,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use time::OffsetDateTime;

const DEFAULT_REGION: &str = "us-east-1";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the SDK may pause between its tries, all together: 1, 2, 4 and 8 s at most.
const PAUSES: Duration = Duration::from_secs(15);

/// A bucket and the clients that speak to it.
pub(super) struct Bucket {
    pub(super) options: S3Options,
    /// Sends and checks the checksums that the SDK sends by default.
    checked: Client,
    /// Sends checksums only where S3 asks for one.
    plain: Client,
    /// Whether `plain` is in use.
    use_plain: AtomicBool,
    /// Whether the server refused to delete many objects by one request.
    pub(super) no_batches: AtomicBool,
    /// How what is stored is locked.
    pub(super) lock: Option<Lock>,
    /// Whether the server asked for the MD5 of a body that is sent without another checksum.
    wants_md5: AtomicBool,
    /// What it said of the bytes that it took.
    pub(super) answers: Answers,
    /// Uploads that were begun here and have not ended.
    pub(super) begun: Mutex<Vec<Unfinished>>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Store({})", self.uri(""))
    }
}

impl Bucket {
    /// Prepares access with credentials (and, when it is not named, the region) from the SDK's own chain: environment,
    /// profile, OIDC web identity, container, instance. Nothing is asked of the server yet.
    pub(super) async fn connect(options: &S3Options) -> Result<Self> {
        let named = options.region.clone().map(Region::new);
        let mut loader = aws_config::defaults(aws_config::BehaviorVersion::latest());
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(Keys { id, secret, token }) = &options.keys {
            let token = token.as_ref().map(|token| token.expose().to_owned());
            loader = loader.credentials_provider(Credentials::new(id, secret.expose(), token, None, "savepoint"));
        }
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
        // For the credentials' own requests as well, such as those to STS.
        if let Some(roots) = &options.roots {
            loader = loader.http_client(http::client(roots)?);
        }
        let loaded = loader.load().await;
        // AWS_ENDPOINT_URL and the profile can name a clone too.
        let mut options = options.clone();
        options.endpoint = options.endpoint.or_else(|| loaded.endpoint_url().map(str::to_owned));
        let region = loaded.region().cloned();
        Self::build(options, aws_sdk_s3::config::Builder::from(&loaded), region)
    }

    /// As [`Bucket::connect`], with a fixed access key in place of the SDK's chain.
    pub(super) fn with_credentials(options: &S3Options, access_key: &str, secret: Secret) -> Result<Self> {
        let credentials = Credentials::new(access_key, secret.expose(), None, None, "savepoint");
        let mut config = Builder::new().behavior_version_latest().credentials_provider(credentials);
        if let Some(roots) = &options.roots {
            config = config.http_client(http::client(roots)?);
        }
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
            .timeout_config(timeouts(options.stall(), 0))
            .stalled_stream_protection(
                StalledStreamProtectionConfig::enabled()
                    .upload_enabled(true)
                    .download_enabled(true)
                    .grace_period(options.stall() / STALL_PARTS)
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
        let lock = options.lock_from(OffsetDateTime::now_utc());
        Ok(Self {
            options,
            checked,
            plain,
            use_plain,
            no_batches: AtomicBool::new(false),
            wants_md5: AtomicBool::new(lock.is_some()),
            lock,
            answers: Answers::default(),
            begun: Mutex::default(),
        })
    }

    /// The MD5 of a body, where a request without another checksum needs it: S3 refuses to lock what it cannot check.
    pub(super) fn digest(&self, checked: bool, body: &[u8]) -> Option<String> {
        (!checked && self.wants_md5.load(Ordering::Relaxed)).then(|| content_md5(body))
    }

    /// Whether a request failed for want of that MD5, as those do in a bucket that locks everything by a rule of its own. From then on it
    /// is sent.
    pub(super) fn learns_to_send_md5(&self, failure: &Failure) -> bool {
        failure.asks_for_md5() && !self.wants_md5.swap(true, Ordering::Relaxed)
    }

    /// Compares what the server says of a body with it, where that is the only word there is.
    pub(super) fn compare(&self, body: &[u8], said: Said<'_>) -> Result<(), Failure> {
        if self.options.put_only { self.answers.compare(body, said) } else { Ok(()) }
    }

    /// Uploads that were begun here and have not ended.
    pub(super) fn begun(&self) -> MutexGuard<'_, Vec<Unfinished>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn full_key(&self, key: &str) -> String {
        if self.options.prefix.is_empty() { key.to_owned() } else { format!("{}/{key}", self.options.prefix) }
    }

    /// The key as the server knows it; an error when S3 could not hold it.
    pub(super) fn checked_key(&self, key: &str) -> Result<String> {
        check_key(key)?;
        let full = self.full_key(key);
        check_key(&full)?;
        Ok(full)
    }

    pub(super) fn uri(&self, key: &str) -> String {
        format!("s3://{}/{}", self.options.bucket, self.full_key(key))
    }

    pub(super) fn sse(&self) -> Option<ServerSideEncryption> {
        self.options.sse.as_deref().map(ServerSideEncryption::from)
    }

    pub(super) fn storage_class(&self) -> Option<StorageClass> {
        self.options.storage_class.as_deref().map(StorageClass::from)
    }

    /// Sends a request. `send` is given the client, and whether it is the one that sends checksums; with
    /// [`S3Checksums::Auto`] a refusal that may be due to them is tried once without, and when that helps the store does
    /// without them from then on.
    pub(super) async fn call<T, E, F>(&self, send: impl Fn(Client, bool) -> F) -> Result<T, Failure>
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

    pub(super) fn error(&self, op: Op, key: &str, failure: Failure) -> Error {
        failure.explain(op, &self.uri(key), &self.options)
    }
}

/// The limits of a request with a body of `bytes`: 32 KiB/s is the slowest line that we still wait for, and a server may think as long as
/// a try may stand still.
pub(super) fn timeouts(stall: Duration, bytes: usize) -> TimeoutConfig {
    let attempt = stall / STALL_PARTS + Duration::from_secs(bytes as u64 / (32 * 1024));
    limits(attempt, attempt * 3 + PAUSES)
}

pub(super) fn limits(attempt: Duration, all: Duration) -> TimeoutConfig {
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
