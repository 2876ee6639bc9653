//! Keys, made by the programs that people make them by.

use super::Result;
use anyhow::{Context, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A key pair.
pub struct Key {
    /// Of the private one.
    pub file: PathBuf,
    /// As text.
    pub public: String,
}

impl Key {
    /// The path as text.
    pub fn path(&self) -> String {
        self.file.display().to_string()
    }
}

/// Runs a program to its end; what it wrote.
pub fn tool(name: &str, args: &[&str]) -> Result<Vec<u8>> {
    let out = Command::new(name).args(args).output().with_context(|| format!("{name}: run scripts/test-stack.sh"))?;
    ensure!(out.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(out.stdout)
}

/// A key of age.
pub fn age_key(dir: &Path, name: &str) -> Result<Key> {
    let file = dir.join(name);
    tool("age-keygen", &["-o", &file.display().to_string()])?;
    let public = String::from_utf8(tool("age-keygen", &["-y", &file.display().to_string()])?)?.trim().to_owned();
    Ok(Key { file, public })
}

/// A key of SSH without a passphrase, unless `args` say otherwise.
pub fn ssh_key(dir: &Path, name: &str, args: &[&str]) -> Result<Key> {
    let file = dir.join(name);
    let path = file.display().to_string();
    tool("ssh-keygen", &[&["-q", "-N", "", "-C", "somebody@laptop", "-f", &path], args].concat())?;
    let public = fs::read_to_string(format!("{path}.pub"))?.trim().to_owned();
    Ok(Key { file, public })
}

/// A key of minisign without a password.
pub fn minisign_key(dir: &Path, name: &str) -> Result<Key> {
    let file = dir.join(name);
    let public = dir.join(format!("{name}.pub"));
    tool("minisign", &["-G", "-W", "-p", &public.display().to_string(), "-s", &file.display().to_string()])?;
    let public = fs::read_to_string(&public)?.lines().last().context("a key")?.to_owned();
    Ok(Key { file, public })
}
