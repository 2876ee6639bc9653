//! Reading what lies in a backup's folder: manifest and proof records.

use super::{
    Folder, MANIFEST, Receipt, Stored,
    manifest::{FORMAT_VERSION, Manifest},
    proof::{self, Proof},
    receipt,
};
use crate::{
    error::{Error, Kind, Result},
    sign::PublicKeys,
    store::{Lock, Store},
};
use serde::{
    Deserialize, Deserializer as _,
    de::{IgnoredAny, MapAccess, Visitor},
};
use sha2::{Digest, Sha256};
use std::{fmt, sync::Arc};

/// The manifest that lies in a folder, whosever it is.
///
/// # Errors
/// [`Kind::NotFound`] when there is none, [`Kind::Archive`] when it is none of ours.
pub async fn manifest_in(store: &Arc<dyn Store>, folder: &str) -> Result<Manifest> {
    let key = format!("{folder}{MANIFEST}");
    let bytes = store.open(&key, None).await?.bytes().await?;
    Manifest::parse(&bytes).map_err(|e| e.context(format!("stored file {key}")))
}

/// A backup's manifest, which must be of this backup and of a format that we know. Of one that hides its names the part that it shows.
pub async fn manifest(store: &Arc<dyn Store>, stored: &Stored) -> Result<Manifest> {
    let manifest = manifest_in(store, &stored.folder).await?;
    check_header(stored, manifest.format, &manifest.id)?;
    Ok(manifest)
}

/// A backup's manifest from its bytes: of this backup and of a format that we know.
///
/// # Errors
/// As [`manifest`].
pub fn parsed(stored: &Stored, bytes: &[u8]) -> Result<Manifest> {
    let manifest = Manifest::parse(bytes).map_err(|e| e.context(format!("stored file {}", stored.manifest_key())))?;
    check_header(stored, manifest.format, &manifest.id)?;
    Ok(manifest)
}

/// A manifest, and what binds other things to it.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The manifest, as [`manifest`] reads it.
    pub manifest: Manifest,
    /// SHA-256 (hex) of its bytes as they lie there.
    pub sha256: String,
    /// Who signed it.
    pub receipt: Receipt,
}

/// As [`manifest`], with its signature checked. `trusted`: the keys of which one must have signed it.
///
/// # Errors
/// As [`manifest`] and [`receipt::check`].
pub async fn signed(store: &Arc<dyn Store>, stored: &Stored, trusted: Option<&PublicKeys>) -> Result<Signed> {
    let key = stored.manifest_key();
    let bytes = store.open(&key, None).await?.bytes().await?;
    let manifest = parsed(stored, &bytes)?;
    let receipt = receipt::check(store, &key, &bytes, manifest.signed_by.as_deref(), trusted).await?;
    Ok(Signed { manifest, sha256: hex::encode(Sha256::digest(&bytes)), receipt })
}

/// A backup's whole manifest, also where it is encrypted.
///
/// # Errors
/// As [`signed`] and [`whole`].
pub async fn whole_manifest(folder: &Folder, stored: &Stored, trusted: Option<&PublicKeys>) -> Result<Signed> {
    let signed = signed(folder.store(), stored, trusted).await?;
    Ok(Signed { manifest: whole(folder, signed.manifest).await?, ..signed })
}

/// The whole of a manifest that hides its names; any other as it is.
///
/// # Errors
/// [`Kind::Refused`] without a key that opens it; [`Kind::Archive`] when it is not the one that the shown part was made of.
pub async fn whole(folder: &Folder, shown: Manifest) -> Result<Manifest> {
    let Some(file) = shown.hidden().cloned() else { return Ok(shown) };
    let named = |e: Error| e.context(format!("stored file {}", folder.key(&file.path)));
    let bytes = folder.open(&file, None).await?.bytes().await?;
    let plain = file.plain.as_ref().map(|plain| plain.sha256.as_str());
    if plain != Some(hex::encode(Sha256::digest(&bytes)).as_str()) {
        return Err(named(Error::new(Kind::Archive, "it is not what was stored")));
    }
    let mut whole = Manifest::parse(&bytes).map_err(named)?;
    // Each is bound to the other: nobody can take one of another backup, or change what the readable part says.
    if (Manifest { digest: String::new(), ..shown }) != whole.shown(file.clone()) {
        return Err(named(Error::new(Kind::Archive, "manifest.json is not the part of it that it shows")));
    }
    if let Some(encryption) = &mut whole.encryption {
        encryption.manifest = Some(file);
    }
    Ok(whole)
}

/// Refuses a manifest of a newer format, and that of another backup.
///
/// # Errors
/// [`Kind::Archive`].
pub fn check_header(stored: &Stored, format: u32, id: &str) -> Result<()> {
    let file = format!("stored file {}manifest.json", stored.folder);
    if format > FORMAT_VERSION {
        let message = format!("{file}: it is of format {format}, and we know {FORMAT_VERSION}");
        return Err(Error::new(Kind::Archive, message).hint("use a newer savepoint"));
    }
    if id != stored.id {
        return Err(Error::new(Kind::Archive, format!("{file}: it is the manifest of backup {id:?}")));
    }
    Ok(())
}

/// The newest proof record of a backup, which must belong to the manifest that was read; `None` when it was never proven.
///
/// # Errors
/// As [`proof_of`].
pub async fn last_proof_of(
    store: &Arc<dyn Store>,
    stored: &Stored,
    of: &Signed,
    trusted: Option<&PublicKeys>,
) -> Result<Option<Proof>> {
    match stored.proofs().next_back() {
        Some(key) => proof_of(store, key, of, trusted).await.map(Some),
        None => Ok(None),
    }
}

/// A proof record by its key, which must belong to the manifest that was read. `trusted`: the keys of which one must have signed it.
///
/// # Errors
/// [`Kind::Archive`] when it is no proof record, another's, or not signed as it must be.
pub async fn proof_of(store: &Arc<dyn Store>, key: &str, of: &Signed, trusted: Option<&PublicKeys>) -> Result<Proof> {
    let bytes = store.open(key, None).await?.bytes().await?;
    if trusted.is_some() {
        receipt::check(store, key, &bytes, None, trusted).await?;
    }
    let proof = parse_proof(key, &bytes)?;
    proof::belongs(&proof, key, &of.manifest.id, &of.sha256, trusted.is_some())?;
    Ok(proof)
}

/// The newest proof record of a backup; `None` when it was never proven.
pub async fn last_proof(store: &Arc<dyn Store>, stored: &Stored) -> Result<Option<Proof>> {
    match stored.proofs().next_back() {
        Some(key) => proof(store, key).await.map(Some),
        None => Ok(None),
    }
}

/// A proof record by its key.
///
/// # Errors
/// [`Kind::Archive`] when it is no proof record.
pub async fn proof(store: &Arc<dyn Store>, key: &str) -> Result<Proof> {
    parse_proof(key, &store.open(key, None).await?.bytes().await?)
}

fn parse_proof(key: &str, bytes: &[u8]) -> Result<Proof> {
    let damaged = |e| Error::new(Kind::Archive, format!("stored file {key}: it is no proof record")).because(e);
    serde_json::from_slice(bytes).map_err(damaged)
}

/// Bytes of a manifest that are read of a backup that stays: its first fields say whose it is.
pub const HEAD: u64 = 64 * 1024;

/// What a manifest says of its folder.
pub enum Known {
    /// It is a backup of ours.
    Ours,
    /// It was there a moment ago.
    Gone,
    /// It is a whole manifest, but of another backup, and how that shows: a copied folder.
    Another(String),
    /// It may not be one of ours, and why.
    Stranger(String),
}

/// Reads a manifest, or its first `limit` bytes, and compares it with the folder that it lies in.
///
/// # Errors
/// When the store does not answer; a manifest that is missing, damaged or another backup's is an answer.
pub async fn known(store: &Arc<dyn Store>, stored: &Stored, limit: u64) -> Result<Known> {
    let size = stored.manifest_size();
    let range = (size > limit).then_some(0..limit);
    let whole = range.is_none();
    let read = async { store.open(&stored.manifest_key(), range).await?.bytes().await };
    let bytes = match read.await {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == Kind::NotFound => return Ok(Known::Gone),
        Err(e) if e.kind() == Kind::Archive => return Ok(Known::Stranger(e.one_line())),
        Err(e) => return Err(e),
    };
    let mut head = Head::default();
    let parsed = serde_json::Deserializer::from_slice(&bytes).deserialize_map(&mut head);
    let (Some(format), Some(id), Some(kind), Some(database)) = (head.format, head.id, head.kind, head.database) else {
        if !whole {
            // Some tool may have written it anew, in another order.
            return Box::pin(known(store, stored, u64::MAX)).await;
        }
        let why = parsed.err().map(|e| format!(" ({e})")).unwrap_or_default();
        return Ok(Known::Stranger(format!("manifest.json is not one of savepoint's{why}")));
    };
    if format == 0 || format > FORMAT_VERSION {
        let why = format!("manifest.json has format {format}, which this version does not know");
        return Ok(Known::Stranger(why));
    }
    let another = if id != stored.id {
        Some(format!("manifest.json names backup {id}"))
    } else if kind != stored.kind.name() {
        Some(format!("manifest.json names kind {kind}"))
    } else if database != stored.database {
        Some(format!("manifest.json names database {database}"))
    } else {
        None
    };
    if another.is_some() && !whole {
        // Whether it is another one or a damaged one is told by all of its bytes.
        return Box::pin(known(store, stored, u64::MAX)).await;
    }
    Ok(match (whole.then(|| Manifest::parse(&bytes)), another) {
        (Some(Err(e)), _) => Known::Stranger(format!("manifest.json is damaged ({})", e.one_line())),
        (_, Some(why)) => Known::Another(why),
        (_, None) => Known::Ours,
    })
}

/// The lock that a backup's manifest says it was stored under.
///
/// # Errors
/// When the store does not answer.
pub async fn lock_of(store: &Arc<dyn Store>, stored: &Stored) -> Result<Option<Lock>> {
    let range = (stored.manifest_size() > HEAD).then_some(0..HEAD);
    let bytes = store.open(&stored.manifest_key(), range).await?.bytes().await?;
    let mut head = Head::default();
    // It stands before the lists, and what is cut off behind it is no matter.
    let _ = serde_json::Deserializer::from_slice(&bytes).deserialize_map(&mut head);
    Ok(head.lock)
}

/// The first fields of a manifest, which may be cut off behind them.
#[derive(Default)]
struct Head {
    format: Option<u32>,
    id: Option<String>,
    kind: Option<String>,
    database: Option<String>,
    lock: Option<Lock>,
}

#[derive(Deserialize)]
struct Source {
    database: String,
}

impl<'de> Visitor<'de> for &mut Head {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a manifest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "format" => self.format = Some(map.next_value()?),
                "id" => self.id = Some(map.next_value()?),
                "kind" => self.kind = Some(map.next_value()?),
                "source" => self.database = Some(map.next_value::<Source>()?.database),
                "lock" => self.lock = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}
