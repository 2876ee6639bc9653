//! Public keys that files are encrypted to.

use crate::{error::Result, value::usage};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The public keys that files are encrypted to: any one of the private keys that belong to them opens all files.
#[derive(Clone)]
pub struct Recipients(Arc<Vec<One>>);

struct One {
    text: String,
    kind: &'static str,
    key: Box<dyn age::Recipient + Send + Sync>,
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

impl Recipients {
    /// Reads them, one a line. Empty lines and those that begin with `#` are passed over; each key counts once.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] when one of them is none, or there is none at all.
    pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Recipients> {
        let mut all: Vec<One> = Vec::new();
        for line in lines.into_iter().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let one = one(line)?;
            if all.iter().all(|known| known.text != one.text) {
                all.push(one);
            }
        }
        match all.is_empty() {
            true => Err(usage("option encrypt-to: it names no recipient").hint(CURE)),
            false => Ok(Recipients(Arc::new(all))),
        }
    }

    /// The keys as text, without their comments.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|one| one.text.clone()).collect()
    }

    /// How many there are of which kind: `2 age, 1 ssh-ed25519`.
    pub fn kinds(&self) -> String {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        self.0.iter().for_each(|one| *kinds.entry(one.kind).or_default() += 1);
        kinds.into_iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &dyn age::Recipient> {
        self.0.iter().map(|one| &*one.key as &dyn age::Recipient)
    }
}

const CURE: &str = "write a public key (age1…, ssh-ed25519 …, ssh-rsa …) on each line, or name a file of such lines; age-keygen -o key.txt makes a key";

fn one(line: &str) -> Result<One> {
    let wrong = |what: String| usage(format!("option encrypt-to: {what}")).hint(CURE);
    if line.starts_with("AGE-SECRET-KEY-") || line.starts_with("AGE-PLUGIN-") || line.starts_with("-----BEGIN") {
        return Err(usage("option encrypt-to: that is a private key, which must not be here").hint(
            "age-keygen -y key.txt prints the public key of an age key, and ssh-keygen -y -f that of an SSH key",
        ));
    }
    let shown = line.chars().take(48).collect::<String>();
    if line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-") {
        let key: age::ssh::Recipient = line.parse().map_err(|e| {
            use age::ssh::ParseRecipientKeyError as E;
            wrong(match e {
                E::RsaModulusTooSmall => format!("{shown:?} has fewer than 2048 bits"),
                E::RsaModulusTooLarge => format!("{shown:?} has more than 4096 bits"),
                E::Unsupported(kind) => format!("age encrypts to no keys of type {kind:?}"),
                _ => format!("{shown:?} is no SSH public key"),
            })
        })?;
        let kind = if matches!(key, age::ssh::Recipient::SshRsa(..)) { "ssh-rsa" } else { "ssh-ed25519" };
        return Ok(One { text: key.to_string(), kind, key: Box::new(key) });
    }
    let key: age::x25519::Recipient = line.parse().map_err(|e: &str| {
        let plugin = line.starts_with("age1") && line.get(4..).is_some_and(|rest| rest.contains('1'));
        wrong(match (plugin, line.starts_with("age1")) {
            (true, _) => {
                format!("{shown:?} is a key of an age plugin, or a post-quantum one, which are not known here")
            }
            (_, true) => format!("{shown:?} is no public key ({e})"),
            (_, false) => format!("{shown:?} is neither a public key nor a file"),
        })
    })?;
    Ok(One { text: key.to_string(), kind: "age", key: Box::new(key) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    const SSH: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN";

    #[test]
    fn keys_are_read_once_and_lose_their_comments() {
        let ssh = format!("{SSH} somebody@laptop");
        let read = Recipients::parse(["# the team's", AGE, "", &ssh, &format!(" {AGE} ")]).expect("are keys");
        assert_eq!(read.texts(), [AGE, SSH]);
        assert_eq!(read.kinds(), "1 age, 1 ssh-ed25519");
    }

    #[test]
    fn what_is_no_public_key_is_refused_and_no_private_one_is_shown() {
        let wrong = [
            "",
            "# nobody",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8q",
            "age1yubikey1q2w7u3vpya839jxxuq8g0sedh3d740d4xvn639sqhr95ejj8vu3hyfumptt",
            "ssh-dss AAAAB3NzaC1kc3MAAACB",
            "ssh-ed25519 AAAA",
            "AGE-SECRET-KEY-1S3CRET",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
            "keys.txt",
        ];
        let mut shown = String::new();
        for line in wrong {
            let e = Recipients::parse([line]).expect_err(line);
            shown.push_str(&format!("{e}\n  hint: {}\n", e.hint_text().expect("has a cure")));
        }
        assert!(!shown.contains("S3CRET"));
        insta::assert_snapshot!("recipient_errors", shown);
    }
}
