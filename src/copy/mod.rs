//! `savepoint copy`: brings stored backups to another place, byte by byte as they are, and reads them back there.
//!
//! The manifest goes last, as in a backup: until then the copy is none. Nothing is decrypted, so no key is needed.

mod config;
mod page;
mod send;

pub use config::CopyConfig;

use crate::{
    cancel::Cancel,
    error::{Error, Kind, Result},
    progress::{Event, Progress},
    report::Page,
    store::{self, Store},
    vault::{Folder, Manifest, Stored, find, read::parsed},
    verify::readback,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use page::Copied;
use send::Way;
use std::sync::Arc;

/// Copies each backup to each place. One that fails leaves the others to be copied, and nothing of itself.
pub async fn run(config: &CopyConfig, progress: Arc<dyn Progress>, cancel: Cancel) -> Page {
    let copying = copy_all(config, &progress, &cancel);
    match copying.await {
        Ok((copied, warnings)) => page::page(config, copied, warnings),
        Err(e) => Page::failed("copy", "reading the destination", &e),
    }
}

async fn copy_all(
    config: &CopyConfig,
    progress: &Arc<dyn Progress>,
    cancel: &Cancel,
) -> Result<(Vec<Copied>, Vec<String>)> {
    let from = cancel.unless(find::place(&config.destination, &config.pick), || cancel.error()).await?;
    let mut warnings = from.passed_over;
    warnings.extend(from.found.strangers);
    let mut copied = Vec::new();
    for place in config.to.each() {
        for stored in &from.found.backups {
            let mut one = Copied::new(stored, &place);
            let copying = async {
                if place.label() == from.destination.label() {
                    return Err(Error::new(Kind::Usage, format!("{} is where it lies", place.label()))
                        .hint("name another place by --to"));
                }
                let to = store::open(&place).await?;
                one.uri = Some(to.uri(&stored.folder));
                copy(config, &from.store, &to, stored, progress, cancel, &mut one).await
            };
            if let Err(e) = copying.await {
                let stop = e.kind() == Kind::Interrupted;
                one.failed = Some(e);
                copied.push(one);
                if stop {
                    return Ok((copied, warnings));
                }
                continue;
            }
            copied.push(one);
        }
    }
    Ok((copied, warnings))
}

/// Copies one backup; what is there of it after a failure is removed.
async fn copy(
    config: &CopyConfig,
    from: &Arc<dyn Store>,
    to: &Arc<dyn Store>,
    stored: &Stored,
    progress: &Arc<dyn Progress>,
    cancel: &Cancel,
    told: &mut Copied,
) -> Result<()> {
    let key = stored.manifest_key();
    let bytes = from.open(&key, None).await?.bytes().await?;
    let manifest = parsed(stored, &bytes)?;
    told.take(&manifest);
    let there = match to.open(&key, None).await {
        Ok(there) => Some(there.bytes().await?),
        Err(e) if e.kind() == Kind::NotFound => None,
        Err(e) => return Err(e),
    };
    if there.as_ref().is_some_and(|there| *there != bytes) {
        return Err(Error::new(Kind::Exists, format!("{} is another backup's manifest", to.uri(&key)))
            .hint("nothing there is replaced: name another place by --to"));
    }
    let there = there.is_some();
    told.there = there;
    if config.dry_run {
        return Ok(());
    }
    let work = async {
        if !there {
            files(config, from, to, stored, &manifest, progress, told).await?;
        }
        read_back(config, to, stored, &manifest, progress).await?;
        beside(from, to, stored, &manifest).await?;
        match there {
            true => Ok(()),
            false => to.put_new(&key, bytes).await.map_err(|e| e.context("the manifest was not stored")),
        }
    };
    match cancel.unless(work, || cancel.error()).await {
        Err(e) if !there && e.kind() != Kind::Exists => {
            let left = tokio::time::timeout(cancel.clean_up(), clear(&**to, &stored.folder)).await;
            let left =
                left.unwrap_or_else(|_| vec![format!("what was copied to {} may be left", to.uri(&stored.folder))]);
            told.left.extend(left);
            Err(e)
        }
        worked => worked,
    }?;
    // From here on it is a backup, which stays whatever becomes of its proofs.
    cancel.unless(proofs(from, to, stored), || cancel.error()).await
}

/// Everything that the manifest names.
async fn files(
    config: &CopyConfig,
    from: &Arc<dyn Store>,
    to: &Arc<dyn Store>,
    stored: &Stored,
    manifest: &Manifest,
    progress: &Arc<dyn Progress>,
    told: &mut Copied,
) -> Result<()> {
    let sending: Vec<_> = manifest
        .stored_files()
        .map(|file| async move {
            let way = send::file(from, to, &stored.folder, file).await?;
            progress.event(Event::Stored(file.size));
            Ok::<Way, Error>(way)
        })
        .collect();
    let ways: Vec<Way> = stream::iter(sending).buffer_unordered(config.jobs).try_collect().await?;
    told.inside = ways.iter().filter(|way| **way == Way::Inside).count() as u64;
    Ok(())
}

/// Reads every byte of the copy.
async fn read_back(
    config: &CopyConfig,
    to: &Arc<dyn Store>,
    stored: &Stored,
    manifest: &Manifest,
    progress: &Arc<dyn Progress>,
) -> Result<()> {
    let folder = Folder::new(to.clone(), &stored.folder).telling(progress.clone());
    let folder = &folder;
    let reading: Vec<_> = manifest
        .stored_files()
        .map(|file| async move {
            readback::whole(folder, file, None).await.map_err(|e| e.context("the copy is not what was copied"))?;
            progress.event(Event::Compared(file.size));
            Ok::<(), Error>(())
        })
        .collect();
    stream::iter(reading).buffer_unordered(config.jobs).try_collect().await
}

/// Small objects of the folder that the manifest does not name, such as a signature: before the manifest, as they were stored.
async fn beside(from: &Arc<dyn Store>, to: &Arc<dyn Store>, stored: &Stored, manifest: &Manifest) -> Result<()> {
    let named = |path: &str| manifest.stored_files().any(|file| file.path == path);
    for object in &stored.objects {
        let path = object.key.strip_prefix(&stored.folder).unwrap_or_default();
        let known = object.key == stored.manifest_key() || path.starts_with("archive/") || path.starts_with("proofs/");
        if !known && !named(path) {
            let bytes = from.open(&object.key, None).await?.bytes().await?;
            to.put(&object.key, bytes).await?;
        }
    }
    Ok(())
}

/// The records of its proofs: they speak of these bytes, each of which was just read back.
async fn proofs(from: &Arc<dyn Store>, to: &Arc<dyn Store>, stored: &Stored) -> Result<()> {
    let prefix = format!("{}proofs/", stored.folder);
    for object in stored.objects.iter().filter(|object| object.key.starts_with(&prefix)) {
        let bytes = from.open(&object.key, None).await?.bytes().await?;
        match to.put_new(&object.key, bytes).await {
            Err(e) if e.kind() != Kind::Exists => return Err(e.context("the copy lies there, but not its proofs")),
            _ => {}
        }
    }
    Ok(())
}

/// Removes half a copy; a line for each thing that stays.
async fn clear(to: &dyn Store, folder: &str) -> Vec<String> {
    let mut left: Vec<String> = to.abort_uploads(folder).await.err().map(|e| e.one_line()).into_iter().collect();
    match to.list(folder).await {
        Ok(objects) => {
            let keys: Vec<String> = objects.into_iter().map(|object| object.key).collect();
            left.extend(to.delete_many(&keys).await.into_iter().map(|(_, e)| e.one_line()));
        }
        Err(e) => left.push(e.one_line()),
    }
    left
}
