//! Whether a destination takes all that a backup does with it.

use super::Store;
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use std::time::Duration;

/// Tries everything that a backup will do with the store: writes a small object of a random name under `prefix_key`
/// (which may be empty), reads it back, lists it, begins an upload in parts and aborts it, and deletes the object.
///
/// A step that fails is an error that names the missing permission. Only a delete that fails is no error but a returned
/// warning: a role that may add backups but not remove any is a sound choice in production.
pub async fn probe(store: &dyn Store, prefix_key: &str) -> Result<Vec<String>> {
    let name = format!("{PROBE_OF_PUTS}-{}", uuid::Uuid::new_v4().simple());
    let key = match prefix_key.trim_matches('/') {
        "" => name,
        prefix => format!("{prefix}/{name}"),
    };
    store.put(&key, Bytes::from_static(PROBE)).await.map_err(|e| e.context("the destination cannot be written"))?;
    let tried = probe_rest(store, &key).await;
    let mut deleted = store.delete(&key).await;
    // A request that was given up and sent again may be carried out behind the other one, and behind the delete; and a busy store may
    // have said too early that it is done.
    for pause in [Duration::ZERO, AGAIN] {
        tokio::time::sleep(pause).await;
        if deleted.is_err() || !store.list(&key).await.is_ok_and(|left| !left.is_empty()) {
            break;
        }
        deleted = store.delete(&key).await;
    }
    tried?;
    Ok(match deleted {
        Ok(()) => Vec::new(),
        Err(e) if e.kind() == Kind::Locked => vec![format!(
            "the bucket keeps everything for a time by a rule of its own: this probe stays, and so would what a failed run stored ({})",
            store.uri(&key)
        )],
        Err(e) => vec![format!(
            "objects cannot be deleted: {}; backups will be stored, but the leftovers of a failed one, and this probe, stay",
            e.one_line()
        )],
    })
}

/// The name of what a key that may only put leaves behind: always the same, and stored once, as it cannot be removed.
pub const PROBE_OF_PUTS: &str = "savepoint-probe";

/// Tries what a key can do that may only put: stores a small object, unless an earlier run did.
///
/// # Errors
/// When it may not even do that.
pub async fn probe_by_put(store: &dyn Store) -> Result<()> {
    match store.put_new(PROBE_OF_PUTS, Bytes::from_static(PROBE)).await {
        // The right to put is looked at before the condition is.
        Err(e) if e.kind() == Kind::Exists => Ok(()),
        put => put.map_err(|e| e.context("the destination cannot be written")),
    }
}

/// How long a store is given to show that what it deleted is gone.
const AGAIN: Duration = Duration::from_millis(300);

const PROBE: &[u8] =
    b"savepoint: may this destination be written, read, listed and deleted? this object can be removed\n";

async fn probe_rest(store: &dyn Store, key: &str) -> Result<()> {
    let unreadable = |e: Error| e.context("the destination cannot be read");
    let read = store.open(key, None).await.map_err(unreadable)?.bytes().await.map_err(unreadable)?;
    if read != PROBE {
        return Err(Error::new(Kind::Store, format!("{} does not hold the bytes just written to it", store.uri(key)))
            .hint("check what stands between this machine and the destination: a proxy or a cache?"));
    }
    let listed = store.list(key).await.map_err(|e| e.context("the destination cannot be listed"))?;
    if !listed.iter().any(|o| o.key == key && o.size == PROBE.len() as u64) {
        return Err(Error::new(Kind::Store, format!("{} was just written but is not listed", store.uri(key)))
            .hint("the destination's listing must show new objects at once"));
    }
    // In a folder, as a backup's files are, which alone are locked: beginning the upload asks for the right to do so, and leaves nothing.
    let parts_key = if store.locks().is_some() { format!("{key}-parts/1") } else { format!("{key}-parts") };
    let no_parts = |e: Error| e.context("the destination takes no upload in parts");
    let upload = store.create_upload(&parts_key).await.map_err(no_parts)?;
    let sent = upload.put_part(1, 0, Bytes::from_static(PROBE)).await;
    let aborted = upload.abort().await;
    sent.map_err(no_parts)?;
    aborted.map_err(|e| e.context("an upload in parts cannot be aborted"))
}
