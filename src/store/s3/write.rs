//! Objects stored by one request.

use super::{
    acknowledged::Said,
    bucket::{Bucket, timeouts},
    failure::{Failure, Op},
    moving::InPieces,
};
use crate::{
    error::{Error, Kind, Result},
    store::{content_type, pace::ATTEMPTS},
};
use aws_config::retry::RetryConfig;
use aws_sdk_s3::{config::Builder, primitives::ByteStream};
use bytes::Bytes;
use std::time::Duration;

impl Bucket {
    pub(super) async fn put(&self, key: &str, body: Bytes) -> Result<()> {
        let full = self.checked_key(key)?;
        self.put_once(key, &full, &body, false).await.map_err(|f| self.error(Op::Put, key, f))
    }

    /// By `If-None-Match: *`, so that of several writers one wins. A server that does not know the condition (some refuse
    /// it, some ignore it) is only asked beforehand whether the object is there.
    pub(super) async fn put_new(&self, key: &str, body: Bytes) -> Result<()> {
        let full = self.checked_key(key)?;
        let exists = || Error::new(Kind::Exists, format!("{} exists already", self.uri(key)));
        // A role without s3:GetObject or s3:ListBucket is told nothing here: the condition decides.
        let head = if self.options.put_only { Ok(None) } else { self.head(&full).await };
        match head {
            Ok(Some(_)) => return Err(exists()),
            Err(f) if f.status != Some(403) => return Err(self.error(Op::Head, key, f)),
            _ => {}
        }
        let mut perhaps_stored = false;
        let mut attempt = 1;
        loop {
            let failure = match self.put_once(key, &full, &body, true).await {
                Ok(()) => return Ok(()),
                Err(f) => f,
            };
            match failure.status {
                Some(412) if perhaps_stored && self.holds(key, &full, &body).await => return Ok(()),
                Some(412) => return Err(exists()),
                Some(501) => {
                    let put = self.put_once(key, &full, &body, false).await;
                    return put.map_err(|f| self.error(Op::Put, key, f));
                }
                _ if attempt < ATTEMPTS && failure.is_transient() => {
                    perhaps_stored |= failure.status.is_none_or(|s| s >= 500);
                    tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
                    attempt += 1;
                }
                _ => return Err(self.error(Op::Put, key, failure)),
            }
        }
    }

    /// Stores an object by one request.
    async fn put_once(&self, key: &str, full_key: &str, body: &Bytes, only_new: bool) -> Result<(), Failure> {
        let send = async |pieces: InPieces| self.put_at_once(key, full_key, body, only_new, pieces).await;
        match self.moving(body, send).await {
            Err(f) if self.learns_to_send_md5(&f) => self.moving(body, send).await,
            put => put,
        }
    }

    async fn put_at_once(
        &self,
        key: &str,
        full_key: &str,
        body: &Bytes,
        only_new: bool,
        pieces: InPieces,
    ) -> Result<(), Failure> {
        let put = self
            .call(|client, checked| {
                let mut config = Builder::new().timeout_config(timeouts(self.options.stall(), body.len()));
                if only_new {
                    // A retry inside the SDK could meet the object that its own first try stored, and call it someone else's.
                    config = config.retry_config(RetryConfig::disabled());
                }
                let held = self.held(key);
                let put = client
                    .put_object()
                    .bucket(&self.options.bucket)
                    .key(full_key)
                    .body(ByteStream::from(body.clone()))
                    .content_type(content_type(full_key))
                    .set_content_md5(self.digest(checked, body))
                    .set_object_lock_mode(held.mode)
                    .set_object_lock_retain_until_date(held.until)
                    .set_object_lock_legal_hold_status(held.legal_hold)
                    .set_storage_class(self.storage_class())
                    .set_server_side_encryption(self.sse())
                    .set_ssekms_key_id(self.options.kms_key_id.clone())
                    .set_if_none_match(only_new.then(|| "*".to_owned()));
                put.customize().config_override(config).interceptor(pieces.clone()).send()
            })
            .await?;
        let said = Said { crc32: put.checksum_crc32(), etag: put.e_tag(), sse: put.server_side_encryption() };
        self.compare(body, said)
    }

    /// Whether an object holds exactly these bytes, as far as can be found out. Of a key that may only put it is taken to: nobody else
    /// knows the name of a run's object.
    async fn holds(&self, key: &str, full_key: &str, body: &Bytes) -> bool {
        if self.options.put_only {
            self.answers.unseen();
            return key.contains('/');
        }
        match self.get(full_key, None, None).await {
            Ok(got) => got.len == body.len() as u64 && got.body.collect().await.is_ok_and(|b| b.into_bytes() == *body),
            Err(_) => false,
        }
    }
}
