//! What lies in the bucket: objects, folders and unfinished uploads.

use super::{bucket::Bucket, failure::Op, read::size};
use crate::{
    error::{Error, Kind, Result},
    store::{
        ObjectInfo, Unfinished,
        key::{check_key, check_prefix},
    },
};
use time::OffsetDateTime;

impl Bucket {
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>> {
        check_prefix(prefix)?;
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = self.page(prefix, None, token).await?;
            found.extend(page.objects);
            match page.next {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    pub(super) async fn list_at_once(&self, prefix: &str) -> Result<Option<Vec<ObjectInfo>>> {
        check_prefix(prefix)?;
        let mut page = self.page(prefix, None, None).await?;
        page.objects.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(page.next.is_none().then_some(page.objects))
    }

    pub(super) async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        check_prefix(folder)?;
        let (mut found, mut token) = (Vec::new(), None);
        loop {
            let page = self.page(folder, Some("/"), token).await?;
            found.extend(page.folders);
            match page.next {
                Some(next) => token = Some(next),
                None => break,
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    pub(super) async fn uploads(&self, prefix: &str) -> Result<Vec<Unfinished>> {
        check_prefix(prefix)?;
        if self.options.put_only {
            return Ok(self.begun().iter().filter(|upload| upload.key.starts_with(prefix)).cloned().collect());
        }
        let (full, skip) = (self.full_key(prefix), self.full_key("").len());
        let mut found = Vec::new();
        let mut marker: Option<(String, Option<String>)> = None;
        loop {
            let (key, id) = marker.clone().unzip();
            let page = self
                .call(|client, _| {
                    let list = client.list_multipart_uploads().bucket(&self.options.bucket).prefix(&full);
                    list.set_key_marker(key.clone()).set_upload_id_marker(id.clone().flatten()).send()
                })
                .await
                .map_err(|f| self.error(Op::ListUploads, prefix, f))?;
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
}

/// An answer to ListObjectsV2; keys are relative to the destination.
struct ListPage {
    objects: Vec<ObjectInfo>,
    folders: Vec<String>,
    /// Where the listing goes on.
    next: Option<String>,
}
