//! Objects that the server copies itself: nothing of them passes this machine.

use super::{
    bucket::{Bucket, limits},
    failure::{Failure, Op},
    upload::PartTag,
};
use crate::{
    error::Result,
    store::{CopySource, content_type},
};
use aws_sdk_s3::config::Builder;
use futures_util::{StreamExt, TryStreamExt, stream};
use std::{sync::Arc, time::Duration};

/// What one request copies at most; S3 takes 5 GiB, but does not say anything while it copies
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html>).
const AT_ONCE: u64 = 1 << 30;

/// Parts of one object that are copied at a time.
const PARTS: usize = 4;

impl Bucket {
    /// Where an object lies, for a server that is asked to copy it.
    pub(super) fn copy_source(&self, key: &str) -> CopySource {
        let encoded = |text: &str| percent_encoding::utf8_percent_encode(text, KEPT).to_string();
        CopySource {
            service: self.options.endpoint.clone().unwrap_or_else(|| "aws".into()),
            path: format!("{}/{}", self.options.bucket, encoded(&self.full_key(key))),
        }
    }

    /// Has the server copy an object; false where it does not, for whatever reason.
    pub(super) async fn copy_from(
        self: &Arc<Self>,
        source: &CopySource,
        key: &str,
        size: u64,
        part: u64,
    ) -> Result<bool> {
        if source.service != self.copy_source(key).service {
            return Ok(false);
        }
        let full = self.checked_key(key)?;
        let copied = if size <= part { self.copy_at_once(source, key, &full).await } else { None };
        match copied {
            Some(Ok(())) => return Ok(true),
            Some(Err(failure)) if failure.is_transient() => return Err(self.error(Op::Put, key, failure)),
            // It may not read there, or does not know the request.
            Some(Err(_)) => return Ok(false),
            None => {}
        }
        let upload = self.begin(key).await?;
        let count = size.div_ceil(part);
        let ranges = (0..count).map(|n| (n as u32 + 1, n * part..(n * part + part).min(size)));
        let copying: Vec<_> = ranges
            .map(|(number, range)| {
                let upload = &upload;
                async move {
                    let last = range.end - 1;
                    let sending = self.call(|client, _| {
                        let copy = client
                            .upload_part_copy()
                            .bucket(&self.options.bucket)
                            .key(&upload.full)
                            .upload_id(&upload.id)
                            .part_number(number.cast_signed())
                            .copy_source(&source.path)
                            .copy_source_range(format!("bytes={}-{last}", range.start));
                        copy.customize().config_override(patient()).send()
                    });
                    let copied = self.answered(&upload.full, sending).await?;
                    let result = copied.copy_part_result;
                    let tag = PartTag {
                        etag: result.as_ref().and_then(|r| r.e_tag.clone()),
                        crc32: result.and_then(|r| r.checksum_crc32),
                    };
                    upload.parts().0.insert(number, (range.start, range.end - range.start, tag));
                    Ok::<(), Failure>(())
                }
            })
            .collect();
        let copied: Result<(), Failure> = stream::iter(copying).buffer_unordered(PARTS).try_collect().await;
        match copied {
            Ok(()) => crate::store::Upload::complete(&upload).await.map(|()| true),
            Err(failure) => {
                crate::store::Upload::abort(&upload).await?;
                if failure.is_transient() { Err(self.error(Op::Put, key, failure)) } else { Ok(false) }
            }
        }
    }

    async fn copy_at_once(&self, source: &CopySource, key: &str, full: &str) -> Option<Result<(), Failure>> {
        let sending = self.call(|client, _| {
            let held = self.held(key);
            let copy = client
                .copy_object()
                .bucket(&self.options.bucket)
                .key(full)
                .copy_source(&source.path)
                .content_type(content_type(full))
                .metadata_directive(aws_sdk_s3::types::MetadataDirective::Replace)
                .set_object_lock_mode(held.mode)
                .set_object_lock_retain_until_date(held.until)
                .set_object_lock_legal_hold_status(held.legal_hold)
                .set_storage_class(self.storage_class())
                .set_server_side_encryption(self.sse())
                .set_ssekms_key_id(self.options.kms_key_id.clone());
            copy.customize().config_override(patient()).send()
        });
        Some(self.answered(full, sending).await.map(drop))
    }

    pub(super) async fn copied_from(self: &Arc<Self>, source: &CopySource, key: &str, size: u64) -> Result<bool> {
        self.copy_from(source, key, size, AT_ONCE).await
    }
}

/// The server may copy for minutes before it answers.
fn patient() -> Builder {
    Builder::new().timeout_config(limits(Duration::from_secs(300), Duration::from_secs(600)))
}

/// What may stand unencoded in the header: the rest is percent-encoded.
const KEPT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
