//! Signatures of what lies in a backup's folder: a file beside each manifest and proof record, put there before what it signs, so that no
//! run that dies leaves one without.

use crate::{
    error::{Error, Kind, Result},
    sign::{Judged, PublicKey, PublicKeys, SUFFIXES, Signer},
    store::Store,
};
use std::sync::Arc;

/// No signature is larger, in bytes; what is, is none.
const LARGEST: u64 = 16 << 10;

/// What is known of who signed a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Nobody, as far as it says.
    Unsigned,
    /// It names who signed it, and the signature is gone.
    Gone(String),
    /// The key that it names signed it. Nobody said whether that is the right one.
    Unchecked(String),
    /// One of the keys that were given signed it.
    Checked(String),
}

impl Receipt {
    /// Who signed it, for people; `None` where nobody did.
    pub fn line(&self) -> Option<String> {
        match self {
            Receipt::Unsigned => None,
            Receipt::Gone(by) => Some(format!("by {by}, but no signature lies there")),
            Receipt::Unchecked(by) => Some(format!("by {by}; not checked, as no verify-key was given")),
            Receipt::Checked(by) => Some(format!("by {by}; checked")),
        }
    }

    /// What is odd about it.
    pub fn warning(&self, what: &str) -> Option<String> {
        match self {
            Receipt::Gone(by) => Some(format!(
                "{what}: the manifest says that it is signed by {by}, and no signature lies there: somebody took it away"
            )),
            _ => None,
        }
    }

    /// For programs: who signed it, and what is known of that.
    pub fn json(&self) -> serde_json::Value {
        let (by, state) = match self {
            Receipt::Unsigned => return serde_json::Value::Null,
            Receipt::Gone(by) => (by, "missing"),
            Receipt::Unchecked(by) => (by, "unchecked"),
            Receipt::Checked(by) => (by, "checked"),
        };
        serde_json::json!({ "by": by, "state": state })
    }
}

/// Whether a name in a backup's folder is that of a signature.
pub fn is_signature(name: &str) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// The name of the signature of a file by this key.
pub fn name(of: &str, key: &PublicKey) -> String {
    format!("{of}{}", key.suffix())
}

/// Puts the signature of what is about to be stored under `key`. `id`: the backup's.
///
/// # Errors
/// [`Kind::Exists`] when one lies there, and when it cannot be stored.
pub async fn put(store: &Arc<dyn Store>, signer: &Signer, key: &str, bytes: &[u8], id: &str) -> Result<()> {
    let file = key.rsplit('/').next().unwrap_or(key);
    let signature = signer.sign(bytes, &format!("savepoint backup {id} file:{file}"))?;
    store.put_new(&name(key, signer.public()), signature.into()).await
}

/// Checks the signature of the bytes that were read under `key`: by the keys that are trusted, else by the one that the file itself names,
/// which tells a change from none, but not a forger from the owner.
///
/// # Errors
/// [`Kind::Archive`]: with keys, when none of them signed these bytes; without, when the one that the file names signed others.
pub async fn check(
    store: &Arc<dyn Store>,
    key: &str,
    bytes: &[u8],
    named: Option<&str>,
    trusted: Option<&PublicKeys>,
) -> Result<Receipt> {
    let wrong = |what: String| Error::new(Kind::Archive, format!("stored file {key} {what}"));
    let own = match (trusted, named) {
        (Some(_), _) => None,
        (None, None) => return Ok(Receipt::Unsigned),
        (None, Some(text)) => Some(
            PublicKey::parse(text)
                .map_err(|why| wrong(format!("names a key that signed it, and that is none: {why}")))?,
        ),
    };
    let keys = match (trusted, own.clone()) {
        (Some(trusted), _) => trusted.clone(),
        (None, own) => own.map(PublicKeys::from).ok_or_else(|| wrong("names no key".into()))?,
    };
    let mut found = Vec::new();
    for suffix in keys.suffixes() {
        if let Some(signature) = read(store, &format!("{key}{suffix}")).await? {
            match keys.judge(bytes, &signature, suffix) {
                Judged::Fits(by) if trusted.is_some() => return Ok(Receipt::Checked(by)),
                Judged::Fits(by) => return Ok(Receipt::Unchecked(by)),
                judged => found.push(judged),
            }
        }
    }
    let labels = keys.labels();
    let restore_it =
        "it is not what the owner of that key stored: take another backup, and find out who writes to the destination";
    Err(match (found.into_iter().next(), own) {
        (None, Some(own)) => return Ok(Receipt::Gone(own.label().to_owned())),
        (None, None) => wrong(match named.map(PublicKey::parse) {
            Some(Ok(by)) => format!("says that it is signed by {}, and no signature by {labels} lies there", by.label()),
            _ => format!("is not signed: it must be by {labels}"),
        })
        .hint("sign-key signs a backup when it is taken; one that was taken without is read without verify-key, and trusted as far as the destination is"),
        (Some(Judged::Changed(by)), _) => wrong(format!("was changed since {by} signed it")).hint(restore_it),
        (Some(Judged::Another(by)), _) => wrong(format!("is signed by another key, {by}: it must be by {labels}"))
            .hint("where that key is yours, name it as well: verify-key takes several"),
        (Some(Judged::Unreadable(why) | Judged::Fits(why)), _) => {
            wrong(format!("has a signature that cannot be read: {why}")).hint(restore_it)
        }
    })
}

/// A signature; `None` where there is none.
async fn read(store: &Arc<dyn Store>, key: &str) -> Result<Option<String>> {
    let reader = match store.open(key, None).await {
        Ok(reader) => reader,
        Err(e) if e.kind() == Kind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    // Whatever else it is, it fits no bytes.
    if reader.size > LARGEST {
        return Ok(Some(String::new()));
    }
    Ok(Some(String::from_utf8_lossy(&reader.bytes().await?).into_owned()))
}
