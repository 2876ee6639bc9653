//! Public keys that signatures are checked by.

use super::{MINISIGN, NAMESPACE, SSH};
use crate::{error::Result, value::usage};
use ssh_key::{Algorithm, HashAlg, SshSig};
use std::{fmt, sync::Arc};

/// A public key, and how people write it.
#[derive(Clone)]
pub struct PublicKey {
    key: Key,
    text: String,
    label: String,
}

#[derive(Clone)]
enum Key {
    Ssh(Box<ssh_key::PublicKey>),
    Minisign(minisign_verify::PublicKey),
}

/// What a signature says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// This key signed these bytes; its [`PublicKey::label`].
    Fits(String),
    /// This key signed others.
    Changed(String),
    /// Another key signed something; its label.
    Another(String),
    /// It is no signature that we know, and why.
    Unreadable(String),
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PublicKey {
    /// Reads one, as `ssh-keygen` and `minisign` write them into a line.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(line: &str) -> Result<PublicKey, String> {
        let shown = line.chars().take(48).collect::<String>();
        if line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-") {
            let key = ssh_key::PublicKey::from_openssh(line).map_err(|_| format!("{shown:?} is no SSH public key"))?;
            return PublicKey::ssh(key).map_err(|kind| format!("signatures by keys of type {kind} are not known"));
        }
        let key = minisign_verify::PublicKey::from_base64(line);
        let known = minisign::PublicKey::from_base64(line);
        match (key, known) {
            (Ok(key), Ok(known)) => {
                Ok(PublicKey { key: Key::Minisign(key), text: line.to_owned(), label: minisign_label(known.keynum()) })
            }
            _ if line.starts_with("RW") => Err(format!("{shown:?} is no public key of minisign")),
            _ => Err(format!("{shown:?} is neither a public key nor a file")),
        }
    }

    /// An SSH key without its comment; the error is its type.
    pub(super) fn ssh(mut key: ssh_key::PublicKey) -> Result<PublicKey, String> {
        if key.algorithm() != Algorithm::Ed25519 {
            return Err(key.algorithm().to_string());
        }
        key.set_comment("");
        let text = key.to_openssh().map_err(|e| e.to_string())?;
        let label = ssh_label(key.key_data());
        Ok(PublicKey { text: text.trim().to_owned(), label, key: Key::Ssh(Box::new(key)) })
    }

    /// As a line, without its comment.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// For people: `SHA256:… (ssh-ed25519)`, or the id by which minisign calls its key.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What the name of a signature by this key adds to that of the file.
    pub fn suffix(&self) -> &'static str {
        match self.key {
            Key::Ssh(_) => SSH,
            Key::Minisign(_) => MINISIGN,
        }
    }

    /// Whether this key signed these bytes.
    pub fn judge(&self, bytes: &[u8], signature: &str) -> Judged {
        match &self.key {
            Key::Ssh(key) => {
                let signed = match SshSig::from_pem(signature) {
                    Ok(signed) => signed,
                    Err(e) => return Judged::Unreadable(e.to_string()),
                };
                if signed.public_key() != key.key_data() {
                    return Judged::Another(ssh_label(signed.public_key()));
                }
                if signed.namespace() != NAMESPACE {
                    return Judged::Unreadable(format!("it was made for {:?}, not for a backup", signed.namespace()));
                }
                self.fits(key.verify(NAMESPACE, bytes, &signed).is_ok())
            }
            Key::Minisign(key) => {
                let signed = match minisign_verify::Signature::decode(signature) {
                    Ok(signed) => signed,
                    Err(e) => return Judged::Unreadable(e.to_string()),
                };
                match key.verify(bytes, &signed, false) {
                    Err(minisign_verify::Error::UnexpectedKeyId) => {
                        let by = minisign::SignatureBox::from_string(signature);
                        Judged::Another(by.map_or_else(|_| "unknown".into(), |by| minisign_label(by.keynum())))
                    }
                    verified => self.fits(verified.is_ok()),
                }
            }
        }
    }

    fn fits(&self, fits: bool) -> Judged {
        if fits { Judged::Fits(self.label.clone()) } else { Judged::Changed(self.label.clone()) }
    }
}

fn ssh_label(key: &ssh_key::public::KeyData) -> String {
    format!("{} ({})", key.fingerprint(HashAlg::Sha256), key.algorithm())
}

/// minisign shows the id as a number, whose lowest byte comes first in the key.
fn minisign_label(id: &[u8]) -> String {
    let digits: String = id.iter().rev().map(|byte| format!("{byte:02X}")).collect();
    format!("{digits} (minisign)")
}

/// The public keys whose signatures count.
#[derive(Clone)]
pub struct PublicKeys(Arc<Vec<PublicKey>>);

impl fmt::Debug for PublicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

const CURE: &str = "write a public key (ssh-ed25519 …, or minisign's RW…) on each line, or name a file of such lines, as ssh-keygen and minisign make them";

impl PublicKeys {
    /// Reads them, one a line. Empty lines and comments are passed over, also those of minisign's files; each key counts once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when one of them is none, or there is none at all.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<PublicKeys> {
        let mut all: Vec<PublicKey> = Vec::new();
        let comment = |line: &&str| line.is_empty() || line.starts_with('#') || line.starts_with("untrusted comment:");
        for line in lines.into_iter().map(str::trim).filter(|line| !comment(line)) {
            if super::is_secret(line) {
                return Err(usage("option verify-key: that is a private key, which must not be here").hint(
                    "ssh-keygen -y -f prints the public key of an SSH key, and minisign -R writes that of minisign's",
                ));
            }
            let key = PublicKey::parse(line).map_err(|why| usage(format!("option verify-key: {why}")).hint(CURE))?;
            if all.iter().all(|known| known.text != key.text) {
                all.push(key);
            }
        }
        match all.is_empty() {
            true => Err(usage("option verify-key: it names no key").hint(CURE)),
            false => Ok(PublicKeys(Arc::new(all))),
        }
    }

    /// As people know them.
    pub fn labels(&self) -> String {
        self.0.iter().map(PublicKey::label).collect::<Vec<_>>().join(", ")
    }

    /// Every name that a signature by one of them adds to that of the file.
    pub fn suffixes(&self) -> Vec<&'static str> {
        let mut all: Vec<_> = self.0.iter().map(PublicKey::suffix).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether one of them signed these bytes. `suffix`: of the signature's own name.
    pub fn judge(&self, bytes: &[u8], signature: &str, suffix: &str) -> Judged {
        let mut worst = Judged::Unreadable("no key of its kind was given".into());
        for key in self.0.iter().filter(|key| key.suffix() == suffix) {
            match key.judge(bytes, signature) {
                fits @ Judged::Fits(_) => return fits,
                // A key of ours that signed other bytes says more than that another one did not sign.
                changed @ Judged::Changed(_) => worst = changed,
                other if !matches!(worst, Judged::Changed(_)) => worst = other,
                _ => {}
            }
        }
        worst
    }
}

impl From<PublicKey> for PublicKeys {
    fn from(key: PublicKey) -> Self {
        PublicKeys(Arc::new(vec![key]))
    }
}
