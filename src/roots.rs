//! Root certificates besides those that the machine knows: of a company's own store, or of whoever stands between.

use crate::{error::Result, value::usage};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Root certificates of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Roots {
    file: PathBuf,
    /// One certificate each, all of them usable.
    pems: Vec<String>,
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({}, {})", self.file.display(), self.pems.len())
    }
}

impl Roots {
    /// Reads a file of certificates in PEM. Those that cannot be a root are passed over, as long as one can.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`], naming the option.
    pub fn read(file: &Path) -> Result<Roots> {
        let hint = "name a file of certificates in PEM by ca-file (or AWS_CA_BUNDLE)";
        let shown = file.display();
        let text = std::fs::read(file)
            .map_err(|e| usage(format!("option ca-file: {shown} cannot be read")).because(e).hint(hint))?;
        let text = String::from_utf8_lossy(&text);
        let blocks = text.split(BEGIN).skip(1).filter_map(|rest| rest.split_once(END));
        let pems: Vec<String> =
            blocks.map(|(body, _)| format!("{BEGIN}{body}{END}\n")).filter(|pem| is_root(pem)).collect();
        if pems.is_empty() {
            return Err(usage(format!("option ca-file: {shown} holds no certificate in PEM")).hint(hint));
        }
        Ok(Roots { file: file.to_owned(), pems })
    }

    /// Where they were read.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The certificates in PEM.
    pub fn pems(&self) -> impl Iterator<Item = &str> {
        self.pems.iter().map(String::as_str)
    }
}

fn is_root(pem: &str) -> bool {
    CertificateDer::from_pem_slice(pem.as_bytes()).is_ok_and(|der| RootCertStore::empty().add(der).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("ca.pem");
        assert_eq!(Roots::read(&file).expect_err("is not there").kind(), Kind::Usage);
        for text in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&file, text).expect("writable");
            let e = Roots::read(&file).expect_err(text);
            assert!(e.kind() == Kind::Usage && e.message().contains("holds no certificate"), "{e}");
        }
    }
}
