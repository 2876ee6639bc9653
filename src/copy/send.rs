//! One file from one place to another: inside the store where both are one, else through this machine in parts.

use crate::{
    error::{Error, Kind, Result},
    store::{MAX_PARTS, Store, Upload},
    vault::manifest::File,
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Size of the parts in which a file is sent, and how many of one file are under way at a time.
const PART: u64 = 16 << 20;
const UNDER_WAY: usize = 3;

/// How a file came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The store copied it.
    Inside,
    /// It was read and sent.
    Through,
}

/// Brings one file over.
///
/// # Errors
/// When it cannot be read or stored; [`Kind::Archive`] when what is read is not what the manifest says.
pub(super) async fn file(from: &Arc<dyn Store>, to: &Arc<dyn Store>, folder: &str, file: &File) -> Result<Way> {
    let key = format!("{folder}{}", file.path);
    if let Some(source) = from.copy_source(&key)
        && to.copy_from(&source, &key, file.size).await?
    {
        return Ok(Way::Inside);
    }
    let mut reader = from.open(&key, None).await?;
    let part = PART.max(file.size.div_ceil(u64::from(MAX_PARTS) - 1));
    let (mut sha, mut read, mut sent, mut number) = (Sha256::new(), 0, 0, 0);
    let mut waiting = BytesMut::new();
    let mut upload: Option<Arc<dyn Upload>> = None;
    let mut parts = FuturesUnordered::new();
    while let Some(bytes) = reader.stream.try_next().await? {
        sha.update(&bytes);
        read += bytes.len() as u64;
        waiting.extend_from_slice(&bytes);
        while waiting.len() as u64 > part {
            let upload = match &upload {
                Some(upload) => upload.clone(),
                None => upload.insert(to.create_upload(&key).await?).clone(),
            };
            number += 1;
            let body = waiting.split_to(part as usize).freeze();
            let offset = sent;
            sent += part;
            parts.push(put(upload, number, offset, body));
            if parts.len() >= UNDER_WAY {
                parts.next().await.transpose()?;
            }
        }
    }
    if read != file.size || hex::encode(sha.finalize()) != file.sha256 {
        return Err(Error::new(Kind::Archive, format!("{} is not what was stored", from.uri(&key)))
            .hint("this copy is damaged: copy from another one, or take a new backup"));
    }
    match upload {
        None => to.put(&key, waiting.freeze()).await?,
        Some(upload) => {
            parts.push(put(upload.clone(), number + 1, sent, waiting.freeze()));
            while parts.next().await.transpose()?.is_some() {}
            upload.complete().await?;
        }
    }
    Ok(Way::Through)
}

async fn put(upload: Arc<dyn Upload>, number: u32, offset: u64, body: Bytes) -> Result<()> {
    upload.put_part(number, offset, body).await
}
