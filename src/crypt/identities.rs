//! Private keys that open files.

use super::recipients::Recipients;
use crate::{error::Result, secret::Secret, value::usage};
use age_core::format::{FileKey, Stanza};
use std::{fmt, sync::Arc};

/// Private keys. They show themselves nowhere.
#[derive(Clone)]
pub struct Identities(Arc<Vec<One>>, Whose);

struct One {
    key: Box<dyn age::Identity + Send + Sync>,
    public: String,
}

/// Whose keys they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// A person's: they may be the wrong ones.
    Given,
    /// The run's own, to which it encrypted all that it reads.
    Run,
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Whether a text is private keys, and not the name of a file of them.
pub fn is_key(text: &str) -> bool {
    let begins = ["AGE-SECRET-KEY-", "AGE-PLUGIN-", "age-encryption.org/v1", "-----BEGIN"];
    text.lines().any(|line| begins.iter().any(|begin| line.trim().starts_with(begin)))
}

const CURE: &str = "give a file with AGE-SECRET-KEY-1… as age-keygen writes it, or an SSH private key (ed25519, rsa) without a passphrase";

impl Identities {
    /// Reads private keys: lines as `age-keygen` writes them, and private keys of SSH. `place`: where they come from, for people.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when there is none, or one cannot be used. No error shows anything of a key.
    pub fn parse(text: &Secret, place: &str) -> Result<Identities> {
        let wrong = |what: &str| usage(format!("option identity: {place} {what}")).hint(CURE);
        let text = text.expose();
        if text.starts_with("age-encryption.org/v1") || text.contains("BEGIN AGE ENCRYPTED FILE") {
            return Err(usage(format!("option identity: {place} is protected by a passphrase"))
                .hint("decrypt it for the run: SAVEPOINT_IDENTITY=\"$(age -d key.age)\" savepoint …"));
        }
        let mut all = Vec::new();
        let mut block: Option<String> = None;
        for (n, line) in text.lines().map(str::trim).enumerate() {
            if line.starts_with("-----BEGIN") {
                block = Some(String::new());
            }
            if let Some(mut pem) = block.take() {
                pem.push_str(line);
                pem.push('\n');
                match line.starts_with("-----END") {
                    true => all.push(ssh(&pem, &wrong)?),
                    false => block = Some(pem),
                }
            } else if !line.is_empty() && !line.starts_with('#') {
                let key: age::x25519::Identity =
                    line.parse().map_err(|_| wrong(&format!("holds no private key in line {}", n + 1)))?;
                all.push(One { public: key.to_public().to_string(), key: Box::new(key) });
            }
        }
        match (all.is_empty(), block) {
            (_, Some(_)) => Err(wrong("ends inside a private key")),
            (true, _) => Err(wrong("holds no private key")),
            (false, _) => Ok(Identities(Arc::new(all), Whose::Given)),
        }
    }

    /// The key of a run, which opens what the run encrypts.
    pub(super) fn of_run(key: age::x25519::Identity) -> Identities {
        let one = One { public: key.to_public().to_string(), key: Box::new(key) };
        Identities(Arc::new(vec![one]), Whose::Run)
    }

    /// Whether a file that they do not open may be another's. One that the run encrypted is damaged.
    pub(super) fn may_be_wrong(&self) -> bool {
        self.1 == Whose::Given
    }

    /// Their public keys.
    ///
    /// # Errors
    /// As [`Recipients::parse`].
    pub fn recipients(&self) -> Result<Recipients> {
        Recipients::parse(self.0.iter().map(|one| one.public.as_str()))
    }
}

fn ssh(pem: &str, wrong: &impl Fn(&str) -> crate::error::Error) -> Result<One> {
    use age::ssh::Identity;
    let key =
        Identity::from_buffer(pem.as_bytes(), None).map_err(|_| wrong("holds no SSH private key that age reads"))?;
    match &key {
        Identity::Unencrypted(_) => {}
        Identity::Encrypted(_) => {
            return Err(wrong("holds an SSH key that is protected by a passphrase")
                .hint("give a copy without one for the run: ssh-keygen -p -N '' -f COPY"));
        }
        Identity::Unsupported(_) => return Err(wrong("holds an SSH key of a kind that age does not read")),
    }
    let public =
        age::ssh::Recipient::try_from(key.clone()).map_err(|_| wrong("holds no SSH private key that age reads"))?;
    Ok(One { public: public.to_string(), key: Box::new(key) })
}

impl age::Identity for Identities {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, age::DecryptError>> {
        self.0.iter().find_map(|one| one.key.unwrap_stanza(stanza))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

    #[test]
    fn keys_are_read_as_age_keygen_writes_them() {
        let text = Secret::new(format!("# created: 2026-11-22\n# public key: age1…\n{KEY}\n"));
        let keys = Identities::parse(&text, "key.txt").expect("is a key");
        assert_eq!(format!("{keys:?}"), "***");
        assert!(keys.recipients().expect("has a public one").texts()[0].starts_with("age1"));
        assert!(is_key(text.expose()) && !is_key("./keys/age-key.txt"));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let mut shown = String::new();
        for text in [
            "",
            "# nothing",
            "S3CRET",
            "AGE-SECRET-KEY-1S3CRET",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nS3CRET",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nS3CRET\n-----END OPENSSH PRIVATE KEY-----",
            "-----BEGIN AGE ENCRYPTED FILE-----\nS3CRET",
        ] {
            let e = Identities::parse(&Secret::from(text), "key.txt").expect_err(text);
            shown.push_str(&format!("{e}\n  hint: {}\n", e.hint_text().expect("has a cure")));
        }
        assert!(!shown.contains("S3CRET"), "{shown}");
        insta::assert_snapshot!("identity_errors", shown);
    }
}
