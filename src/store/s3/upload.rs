//! Objects stored in parts.

use super::{
    acknowledged::Said,
    bucket::{Bucket, limits, timeouts},
    failure::Op,
    moving::InPieces,
};
use crate::{
    error::{Error, Kind, Result},
    store::{Unfinished, Upload, content_type, parts::Parts},
};
use async_trait::async_trait;
use aws_sdk_s3::{
    config::Builder,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use time::OffsetDateTime;

impl Bucket {
    pub(super) async fn create_upload(self: &Arc<Self>, key: &str) -> Result<Arc<dyn Upload>> {
        Ok(Arc::new(self.begin(key).await?))
    }

    /// Begins an object of many parts.
    pub(super) async fn begin(self: &Arc<Self>, key: &str) -> Result<S3Upload> {
        let full = self.checked_key(key)?;
        let created = self
            .call(|client, checked| {
                let held = self.held(key);
                client
                    .create_multipart_upload()
                    .bucket(&self.options.bucket)
                    .key(&full)
                    .content_type(content_type(&full))
                    // The algorithm that the SDK uses for the parts; S3 wants it named here.
                    .set_checksum_algorithm(checked.then_some(ChecksumAlgorithm::Crc32))
                    .set_object_lock_mode(held.mode)
                    .set_object_lock_retain_until_date(held.until)
                    .set_object_lock_legal_hold_status(held.legal_hold)
                    .set_storage_class(self.storage_class())
                    .set_server_side_encryption(self.sse())
                    .set_ssekms_key_id(self.options.kms_key_id.clone())
                    .send()
            })
            .await
            .map_err(|f| self.error(Op::CreateUpload, key, f))?;
        let id = created.upload_id.ok_or_else(|| {
            Error::new(
                Kind::Store,
                format!("cannot begin the upload of {}: the answer has no upload id", self.uri(key)),
            )
        })?;
        if self.options.put_only {
            let begun = Unfinished { key: key.to_owned(), begun: OffsetDateTime::now_utc(), id: id.clone() };
            self.begun().push(begun);
        }
        let (bucket, key) = (self.clone(), key.to_owned());
        let parts = Mutex::new(Parts::new());
        Ok(S3Upload { bucket, key, full, id, parts, completed: AtomicBool::new(false) })
    }

    /// Drops an unfinished upload; no error when it has ended.
    pub(super) async fn abort(&self, key: &str, full_key: &str, id: &str) -> Result<()> {
        let aborted = self
            .call(|client, _| {
                let abort = client.abort_multipart_upload().bucket(&self.options.bucket);
                abort.key(full_key).upload_id(id).send()
            })
            .await;
        match aborted {
            Err(f) if f.code.as_deref() != Some("NoSuchUpload") => Err(self.error(Op::Abort, key, f)),
            _ => {
                self.ended(id);
                Ok(())
            }
        }
    }

    fn ended(&self, id: &str) {
        self.begun().retain(|upload| upload.id != id);
    }
}

/// What S3 gave back for a part.
#[derive(Debug)]
pub(super) struct PartTag {
    pub(super) etag: Option<String>,
    pub(super) crc32: Option<String>,
}

/// An object in the making.
#[derive(Debug)]
pub(super) struct S3Upload {
    bucket: Arc<Bucket>,
    key: String,
    pub(super) full: String,
    pub(super) id: String,
    parts: Mutex<Parts<PartTag>>,
    completed: AtomicBool,
}

impl S3Upload {
    pub(super) fn parts(&self) -> MutexGuard<'_, Parts<PartTag>> {
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
        match self.bucket.head(&self.full).await {
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
        let bucket = &self.bucket;
        Parts::<PartTag>::check_number(&bucket.uri(&self.key), number)?;
        let send = async |pieces: InPieces| {
            let sending = bucket.call(|client, checked| {
                let part = client
                    .upload_part()
                    .bucket(&bucket.options.bucket)
                    .key(&self.full)
                    .upload_id(&self.id)
                    .part_number(number.cast_signed())
                    .set_content_md5(bucket.digest(checked, &body))
                    .body(ByteStream::from(body.clone()));
                part.customize()
                    .config_override(Builder::new().timeout_config(timeouts(self.bucket.options.stall(), body.len())))
                    .interceptor(pieces.clone())
                    .send()
            });
            sending.await
        };
        let sent = match bucket.moving(&body, send).await {
            Err(f) if bucket.learns_to_send_md5(&f) => bucket.moving(&body, send).await,
            sent => sent,
        };
        let compared = sent.and_then(|part| {
            let said = Said { crc32: part.checksum_crc32(), etag: part.e_tag(), sse: part.server_side_encryption() };
            bucket.compare(&body, said).map(|()| part)
        });
        let part = compared.map_err(|f| bucket.error(Op::PutPart(number), &self.key, f))?;
        let tag = PartTag { etag: part.e_tag, crc32: part.checksum_crc32 };
        self.parts().0.insert(number, (offset, body.len() as u64, tag));
        Ok(())
    }

    async fn complete(&self) -> Result<()> {
        let bucket = &self.bucket;
        let total = self.parts().total(&bucket.uri(&self.key))?;
        let completing = bucket.call(|client, checked| {
            let complete = client
                .complete_multipart_upload()
                .bucket(&bucket.options.bucket)
                .key(&self.full)
                .upload_id(&self.id)
                .multipart_upload(self.completed_parts(checked));
            // The server may have to join thousands of parts before it answers.
            let config = Builder::new().timeout_config(limits(Duration::from_secs(120), Duration::from_secs(300)));
            complete.customize().config_override(config).send()
        });
        let completed = bucket.answered(&self.full, completing).await;
        if let Err(failure) = completed {
            // The answer to a completion that worked may have been lost.
            let unsure = failure.is_transient() || failure.code.as_deref() == Some("NoSuchUpload");
            if !(unsure && self.stands(total).await) {
                return Err(bucket.error(Op::Complete, &self.key, failure));
            }
        }
        self.completed.store(true, Ordering::Relaxed);
        bucket.ended(&self.id);
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        if self.completed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.bucket.abort(&self.key, &self.full, &self.id).await
    }
}
