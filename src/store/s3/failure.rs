//! What can go wrong with a request: the reason as the server gives it, and the cure.

use super::options::{S3Checksums, S3Options};
use crate::error::{Error, Kind};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::{fmt, time::Duration};

/// What was asked of S3.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
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
    Locking,
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
            Op::Locking => "s3:GetBucketObjectLockConfiguration",
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
            Op::Locking => "cannot ask for the object lock of",
        })
    }
}

/// Why a request failed, without the SDK's type for each request.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// HTTP status, when there was an answer.
    pub(super) status: Option<u16>,
    /// S3's error code; absent also in answers without a body, such as those to HEAD.
    pub(super) code: Option<String>,
    /// S3's message, or the chain of causes when there was no answer.
    message: String,
    /// No answer within the limit.
    timeout: bool,
    /// The region that the bucket lies in, where the answer names it.
    region: Option<String>,
    /// The server took other bytes than it was sent.
    mismatch: bool,
}

impl Failure {
    pub(super) fn new<E: std::error::Error + ProvideErrorMetadata + 'static>(error: SdkError<E>) -> Self {
        let response = error.raw_response();
        let answered = matches!(error, SdkError::ServiceError(_));
        Failure {
            status: response.map(|r| r.status().as_u16()),
            region: response.and_then(|r| r.headers().get("x-amz-bucket-region")).map(str::to_owned),
            timeout: matches!(error, SdkError::TimeoutError(_)),
            mismatch: false,
            code: error.code().map(str::to_owned),
            message: if answered { error.message().unwrap_or_default().to_owned() } else { chain(&error) },
        }
    }

    /// A connection that broke in the middle of an answer.
    pub(super) fn transport(message: &str) -> Self {
        Failure { message: message.to_owned(), ..Failure::default() }
    }

    /// Nothing moved for so long.
    pub(super) fn stalled(stall: Duration) -> Self {
        Failure {
            message: format!("nothing moved for {stall:?} (--stall-timeout)"),
            timeout: true,
            ..Failure::default()
        }
    }

    /// What the server says of a body is not what was sent.
    pub(super) fn mismatch(difference: String) -> Self {
        Failure { message: difference, mismatch: true, ..Failure::default() }
    }

    /// Whether the server wants the MD5 of a body that it is to lock
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock-managing.html>).
    pub(super) fn asks_for_md5(&self) -> bool {
        self.status == Some(400) && self.message.to_ascii_lowercase().contains("content-md5")
    }

    pub(super) fn is_transient(&self) -> bool {
        match self.status {
            None if self.mismatch => false,
            None => !self.lacks_credentials() && !self.distrusts(),
            Some(status) => status == 409 || status == 429 || (status >= 500 && status != 501),
        }
    }

    fn lacks_credentials(&self) -> bool {
        self.status.is_none() && self.message.contains("credential")
    }

    /// Whether the server's certificate was refused.
    fn distrusts(&self) -> bool {
        self.status.is_none() && self.message.contains("invalid peer certificate")
    }

    /// Whether a server that does not know the SDK's checksums might answer so. Seen or reported of R2, Backblaze, GCS,
    /// Ceph and older MinIO.
    pub(super) fn may_be_checksums(&self) -> bool {
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

    pub(super) fn explain(self, op: Op, uri: &str, options: &S3Options) -> Error {
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
        if self.mismatch {
            return Error::new(Kind::Store, format!("{uri} is not what was sent: {}", self.message)).hint(
                "something on the way or in the store changes bytes: a proxy, or failing memory; nothing was committed",
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
            (_, None) if self.distrusts() && message.contains("UnknownIssuer") => {
                "the server's certificate is signed by no root that this machine knows: name its CA's by --ca-file (or AWS_CA_BUNDLE)".into()
            }
            (_, None) if self.distrusts() => {
                "check the server's certificate: whom it is made out to, and until when".into()
            }
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
            ("InvalidRequest", _) if options.lock.is_some() && message.to_ascii_lowercase().contains("object lock") => {
                "object lock must be switched on when the bucket is made; or leave --s3-object-lock-mode out".into()
            }
            ("InvalidStorageClass", _) => "name a storage class that the server knows by --s3-storage-class".into(),
            ("SlowDown" | "TooManyRequests", _) | (_, Some(429)) => "lower --jobs, or try again later".into(),
            ("XMinioStorageFull" | "QuotaExceeded", _) | (_, Some(507)) => "the server's storage is full: free some space".into(),
            ("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden", _) | (_, Some(401 | 403)) => {
                let permission = op.permission();
                match op {
                    Op::List | Op::Locking => format!("allow {permission} on arn:aws:s3:::{bucket}"),
                    // Without the right to list, S3 says so too of an object that is not there.
                    Op::Get | Op::Head => {
                        format!("allow {permission} on arn:aws:s3:::{key} and s3:ListBucket on arn:aws:s3:::{bucket}")
                    }
                    // Which of them is missing not every store says.
                    Op::Put | Op::CreateUpload if options.lock.is_some() || options.legal_hold => {
                        let lock = options.lock.map_or("", |_| ", s3:PutObjectRetention");
                        let hold = if options.legal_hold { ", s3:PutObjectLegalHold" } else { "" };
                        format!("allow {permission}{lock}{hold} on arn:aws:s3:::{key}")
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
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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
