//! The private key that signs.

use super::{BARE, Judged, NAMESPACE, PublicKey, is_minisign};
use crate::{
    error::{Error, Kind, Result},
    secret::Secret,
    value::usage,
};
use ct_codecs::{Base64, Decoder};
use ssh_key::{HashAlg, LineEnding};
use std::{fmt, sync::Arc};

/// A private key. It shows itself nowhere.
#[derive(Clone)]
pub struct Signer {
    key: Arc<Key>,
    public: PublicKey,
}

enum Key {
    Ssh(ssh_key::PrivateKey),
    Minisign(minisign::SecretKey),
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

const CURE: &str = "give an SSH key (ssh-keygen -t ed25519 -N '' -f backup-key) or minisign's (minisign -G -W)";

impl Signer {
    /// Reads a private key of SSH (ed25519) or of minisign. `place`: where it comes from, for people.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when it is none, or cannot be used. No error shows anything of it.
    pub fn parse(text: &Secret, place: &str, password: Option<&Secret>) -> Result<Signer> {
        let wrong = |what: &str| usage(format!("option sign-key: {place} {what}")).hint(CURE);
        let text = text.expose().trim();
        if let Some(line) = text.lines().map(str::trim).find(|line| is_minisign(line)) {
            return minisign(line, password, &wrong);
        }
        if !text.contains("-----BEGIN") {
            return Err(wrong("holds no private key"));
        }
        let key = ssh_key::PrivateKey::from_openssh(format!("{text}\n"))
            .map_err(|_| wrong("holds no SSH private key in OpenSSH's own format"))?;
        if key.is_encrypted() {
            return Err(wrong("holds an SSH key that is protected by a passphrase")
                .hint("give a copy without one for the run: ssh-keygen -p -N '' -f COPY"));
        }
        let public = PublicKey::ssh(key.public_key().clone())
            .map_err(|kind| wrong(&format!("holds a key of type {kind}, which is not known here")))?;
        Signer { key: Arc::new(Key::Ssh(key)), public }.tried(&wrong)
    }

    /// A private key that does not belong to the public one beside it would sign what nobody can check.
    fn tried(self, wrong: &impl Fn(&str) -> Error) -> Result<Signer> {
        match self.public.judge(b"savepoint", &self.sign(b"savepoint", "a try")?) {
            Judged::Fits(_) => Ok(self),
            _ => Err(wrong("holds a key whose halves do not belong together")),
        }
    }

    /// The public key that checks what it signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A signature of these bytes, as it is stored. `comment`: what minisign signs beside them.
    ///
    /// # Errors
    /// [`Kind::Bug`]: a key that was read can sign.
    pub fn sign(&self, bytes: &[u8], comment: &str) -> Result<String> {
        let failed = |e: String| Error::new(Kind::Bug, "the signature could not be made").because(e);
        match &*self.key {
            Key::Ssh(key) => {
                let signed = key.sign(NAMESPACE, HashAlg::Sha512, bytes);
                signed.and_then(|s| s.to_pem(LineEnding::LF)).map_err(|e| failed(e.to_string()))
            }
            Key::Minisign(key) => minisign::sign(None, key, bytes, Some(comment), Some("signature by savepoint"))
                .map(minisign::SignatureBox::into_string)
                .map_err(|e| failed(e.to_string())),
        }
    }
}

fn minisign(line: &str, password: Option<&Secret>, wrong: &impl Fn(&str) -> Error) -> Result<Signer> {
    let unreadable = |_| wrong("holds no secret key of minisign");
    let key = match (line.starts_with(BARE), password) {
        // Byte by byte: minisign writes no checksum into such a key, and the library would miss it. That it signs is tried.
        (true, _) => {
            let bytes = Base64::decode_to_vec(line, None).map_err(|_| wrong("holds no secret key of minisign"))?;
            minisign::SecretKey::from_bytes(&bytes).map_err(unreadable)?
        }
        // Without a password the library would ask for one.
        (false, None) => {
            return Err(wrong("holds a key that is protected by a password")
                .hint("set the variable SAVEPOINT_SIGN_PASSWORD, or make a key without one: minisign -G -W"));
        }
        // The library wants the comment that stands above it in a file. A variable may hold the line alone.
        (false, Some(password)) => minisign::SecretKeyBox::from_string(&format!("untrusted comment: \n{line}\n"))
            .and_then(|key| key.into_secret_key(Some(password.expose().to_owned())))
            .map_err(|_| wrong("does not open by the password in SAVEPOINT_SIGN_PASSWORD"))?,
    };
    let public = minisign::PublicKey::from_secret_key(&key).map_err(unreadable)?.to_base64();
    let public = PublicKey::parse(&public).map_err(|why| wrong(&why))?;
    Signer { key: Arc::new(Key::Minisign(key)), public }.tried(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::PublicKeys;

    fn ssh() -> Signer {
        let mut seed = [0; 32];
        seed[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        let key = ssh_key::private::Ed25519Keypair::from_seed(&seed);
        let key = ssh_key::PrivateKey::new(key.into(), "somebody").expect("is a key");
        let text = Secret::new(key.to_openssh(LineEnding::LF).expect("is written").as_str());
        Signer::parse(&text, "key", None).expect("is read")
    }

    fn minisign() -> Signer {
        let key = ::minisign::KeyPair::generate_unencrypted_keypair().expect("is made");
        let text = key.sk.to_box(None).expect("is written").into_string();
        Signer::parse(&Secret::new(text), "key", None).expect("is read")
    }

    #[test]
    fn no_change_of_what_is_signed_or_of_the_signature_is_taken() {
        for signer in [ssh(), minisign()] {
            assert_eq!(format!("{signer:?}"), "***");
            let (bytes, public) = (b"{ \"id\": \"one\" }".to_vec(), signer.public());
            let signature = signer.sign(&bytes, "savepoint backup one").expect("signs");
            assert_eq!(public.judge(&bytes, &signature), Judged::Fits(public.label().into()));
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                assert_eq!(public.judge(&changed, &signature), Judged::Changed(public.label().into()));
            }
            // The first line holds no bit of the signature.
            for at in signature.find('\n').expect("has lines")..signature.len() {
                let mut changed = signature.clone().into_bytes();
                changed[at] ^= 1;
                let judged = public.judge(b"other bytes", &String::from_utf8_lossy(&changed));
                assert!(!matches!(judged, Judged::Fits(_)), "{judged:?}");
            }
            for end in 0..signature.len() {
                assert!(!matches!(public.judge(b"other bytes", &signature[..end]), Judged::Fits(_)));
            }
        }
    }

    #[test]
    fn the_right_one_of_several_keys_is_found() {
        let (one, two, three) = (ssh(), ssh(), minisign());
        let lines = [&one, &two, &three, &one].map(|signer| signer.public().text().to_owned());
        let keys = PublicKeys::parse(lines.iter().map(String::as_str)).expect("are keys");
        assert_eq!(keys.labels().split(", ").count(), 3);
        for signer in [&two, &three] {
            let (by, suffix) = (signer.public().label().to_owned(), signer.public().suffix());
            let signature = signer.sign(b"x", "").expect("signs");
            assert_eq!(keys.judge(b"x", &signature, suffix), Judged::Fits(by.clone()));
            assert_eq!(keys.judge(b"y", &signature, suffix), Judged::Changed(by));
        }
        let stranger = ssh();
        let signature = stranger.sign(b"x", "").expect("signs");
        let label = stranger.public().label().to_owned();
        assert_eq!(keys.judge(b"x", &signature, stranger.public().suffix()), Judged::Another(label));
    }

    #[test]
    fn a_key_with_a_password_opens_by_it_alone() {
        let key = ::minisign::KeyPair::generate_encrypted_keypair(Some("words".into())).expect("is made");
        let text = Secret::new(key.sk.to_box(None).expect("is written").into_string());
        let with = |password: Option<&str>| Signer::parse(&text, "key", password.map(Secret::from).as_ref());
        assert!(with(Some("words")).is_ok());
        for (password, said) in [(None, "protected by a password"), (Some("other"), "does not open by the password")] {
            let e = with(password).expect_err(said);
            assert!(e.message().contains(said) && e.hint_text().is_some(), "{e:?}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        for text in [
            "",
            "S3CRET",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nS3CRET",
            "-----BEGIN RSA PRIVATE KEY-----\nS3CRET\n-----END RSA PRIVATE KEY-----",
            "untrusted comment: minisign secret key\nRWQAAEIyS3CRET",
            "RWRTY0IyS3CRET",
        ] {
            let e = Signer::parse(&Secret::from(text), "the variable", None).expect_err(text);
            assert!(e.kind() == Kind::Usage && e.hint_text().is_some(), "{e:?}");
            assert!(!format!("{e:?}").contains("S3CRET"), "{e:?}");
            assert!(text.is_empty() || text == "S3CRET" || super::super::is_secret(text), "{text}");
        }
        let e = PublicKeys::parse(["RWQAAEIyS3CRET"]).expect_err("is private");
        assert!(!format!("{e:?}").contains("S3CRET"), "{e:?}");
    }
}
