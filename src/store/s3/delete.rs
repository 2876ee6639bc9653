//! Objects deleted, by many at once where the server knows how.

use super::{
    bucket::{Bucket, limits},
    failure::Op,
};
use crate::{
    error::{Error, Result},
    store::delete_each,
};
use aws_sdk_s3::{
    config::Builder,
    types::{Delete, ObjectIdentifier},
};
use futures_util::{StreamExt, stream};
use std::{sync::atomic::Ordering, time::Duration};

/// Objects that one request may delete (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>), and such
/// requests at a time.
const BATCH: usize = 1000;
const BATCHES: usize = 4;

impl Bucket {
    pub(super) async fn delete(&self, key: &str) -> Result<()> {
        let full = self.checked_key(key)?;
        let deleted =
            self.call(|client, _| client.delete_object().bucket(&self.options.bucket).key(&full).send()).await;
        match deleted {
            Err(f) if f.code.as_deref() == Some("NoSuchKey") => Ok(()),
            deleted => deleted.map(drop).map_err(|f| self.error(Op::Delete, key, f)),
        }
    }

    /// By requests for up to 1,000 objects each, where the server knows them.
    pub(super) async fn delete_many(&self, keys: &[String]) -> Vec<(String, Error)> {
        let batches: Vec<_> = keys.chunks(BATCH).map(|batch| self.delete_batch(batch)).collect();
        stream::iter(batches).buffer_unordered(BATCHES).map(stream::iter).flatten().collect().await
    }

    /// Removes up to [`BATCH`] objects; those that stay.
    async fn delete_batch(&self, keys: &[String]) -> Vec<(String, Error)> {
        let named = keys.iter().map(|key| ObjectIdentifier::builder().key(self.checked_key(key).ok()?).build().ok());
        let named: Option<Vec<ObjectIdentifier>> = named.collect();
        let delete = named.and_then(|named| Delete::builder().set_objects(Some(named)).quiet(true).build().ok());
        let Some(delete) = delete.filter(|_| !self.no_batches.load(Ordering::Relaxed)) else {
            return self.each_deleted(keys).await;
        };
        let deleting = self.call(|client, _| {
            let request = client.delete_objects().bucket(&self.options.bucket).delete(delete.clone());
            let config = Builder::new().timeout_config(limits(Duration::from_secs(120), Duration::from_secs(300)));
            request.customize().config_override(config).send()
        });
        let answer = self.answered(&self.full_key(""), deleting).await;
        let left: Vec<String> = match answer {
            Ok(answer) => {
                let skip = self.full_key("").len();
                let refused = answer.errors.unwrap_or_default().into_iter().filter_map(|e| e.key);
                refused.filter_map(|key| key.get(skip..).map(str::to_owned)).collect()
            }
            Err(failure) => {
                // Old clones ask for a Content-MD5, which the SDK no longer sends, or do not know the request at all.
                if failure.status.is_some() && !failure.is_transient() {
                    self.no_batches.store(true, Ordering::Relaxed);
                }
                keys.to_vec()
            }
        };
        // One by one it is seen whether the server means it, and why.
        self.each_deleted(&left).await
    }

    async fn each_deleted(&self, keys: &[String]) -> Vec<(String, Error)> {
        delete_each(keys, 16, |key| async move { self.delete(&key).await }).await
    }
}
