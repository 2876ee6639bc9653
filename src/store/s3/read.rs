//! Objects read, whole or by a range of their bytes.

use super::{
    bucket::Bucket,
    failure::{Failure, Op, chain},
};
use crate::{
    error::{Error, Kind, Result},
    store::{
        Reader,
        key::{check_range, too_short},
        pace::ATTEMPTS,
    },
};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures_util::stream;
use std::{ops::Range, sync::Arc, time::Duration};

impl Bucket {
    pub(super) async fn open(self: &Arc<Self>, key: &str, range: Option<Range<u64>>) -> Result<Reader> {
        let full = self.checked_key(key)?;
        let uri = self.uri(key);
        if let Some(range) = &range {
            check_range(&uri, range)?;
            // S3 has no way to ask for nothing.
            if range.is_empty() {
                let head = self.head(&full).await.map_err(|f| self.error(Op::Head, key, f))?;
                let (size, _) = head.ok_or_else(|| Error::new(Kind::NotFound, format!("{uri} does not exist")))?;
                let stream = Box::pin(stream::empty());
                return if range.end > size {
                    Err(too_short(&uri, Some(size), range))
                } else {
                    Ok(Reader { size, stream })
                };
            }
        }
        let got = match (self.get(&full, range.as_ref(), None).await, &range) {
            (Err(f), Some(range)) if f.status == Some(416) => return Err(too_short(&uri, None, range)),
            (got, _) => got.map_err(|f| self.error(Op::Get, key, f))?,
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
            bucket: self.clone(),
            key: key.to_owned(),
            full,
            left: range,
            etag: got.etag,
            body: got.body,
            retries: 0,
        };
        Ok(Reader { size, stream: Box::pin(stream::try_unfold(download, Download::next)) })
    }

    /// Size and ETag of an object; `None` when it is not there.
    pub(super) async fn head(&self, full_key: &str) -> Result<Option<(u64, Option<String>)>, Failure> {
        let head = self
            .call(|client, _| client.head_object().bucket(&self.options.bucket).key(full_key).send())
            .await
            .map(|head| Some((size(head.content_length), head.e_tag)));
        match head {
            Err(f) if f.status == Some(404) && f.code.as_deref() != Some("NoSuchBucket") => Ok(None),
            head => head,
        }
    }

    /// One request for an object or a range of it.
    pub(super) async fn get(
        &self,
        full_key: &str,
        range: Option<&Range<u64>>,
        etag: Option<&str>,
    ) -> Result<Got, Failure> {
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
}

/// An answer to GetObject.
pub(super) struct Got {
    pub(super) body: ByteStream,
    /// Bytes in the body.
    pub(super) len: u64,
    /// Bytes in the whole object, when a range was asked for.
    total: Option<u64>,
    etag: Option<String>,
}

/// A download that goes on where it was when the connection breaks.
struct Download {
    bucket: Arc<Bucket>,
    key: String,
    full: String,
    left: Range<u64>,
    etag: Option<String>,
    body: ByteStream,
    retries: u32,
}

impl Download {
    /// The next bytes. How long the caller takes in between does not count.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        let (stall, uri) = (self.bucket.options.stall(), self.bucket.uri(&self.key));
        let chunk = tokio::time::timeout(stall, self.chunk()).await;
        let chunk = chunk.map_err(|_| {
            Error::new(Kind::Store, format!("cannot read {uri}: no byte came for {stall:?}"))
                .hint("the store hangs or the network is cut: run it again, or raise --stall-timeout for a store that is only slow")
        })??;
        Ok(chunk.map(|chunk| (chunk, self)))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let failure = match self.body.try_next().await {
                Ok(Some(chunk)) => {
                    self.left.start += chunk.len() as u64;
                    return Ok(Some(chunk));
                }
                Ok(None) if self.left.start >= self.left.end => return Ok(None),
                Ok(None) => Failure::transport("the connection ended before the object did"),
                // At the end the only failure is a checksum that differs, which no second try can cure.
                Err(e) => Failure::transport(&chain(&e)),
            };
            if self.left.is_empty() || self.retries >= ATTEMPTS - 1 {
                return Err(self.bucket.error(Op::Get, &self.key, failure));
            }
            self.retries += 1;
            tokio::time::sleep(Duration::from_millis(250 << self.retries)).await;
            let again = self.bucket.get(&self.full, Some(&self.left), self.etag.as_deref()).await;
            let again = again.map_err(|f| self.bucket.error(Op::Get, &self.key, f))?;
            if again.len != self.left.end - self.left.start {
                return Err(too_short(&self.bucket.uri(&self.key), again.total, &self.left));
            }
            self.body = again.body;
        }
    }
}

/// A size as the SDK gives it.
pub(super) fn size(n: Option<i64>) -> u64 {
    n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}
