//! To whom a backup is encrypted, and who opens one. An SSH key begins with hyphens: taken for another option it would be printed.

use super::text::{Flag as _, secret};
use crate::secret::Secret;
use clap::Args;

/// To whom a backup is encrypted.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Encryption")]
pub struct EncryptArgs {
    /// Encrypt everything that is stored, with age, before it leaves this machine: public keys (age1…, ssh-ed25519 …, ssh-rsa …), or
    /// files of them, one a line. Any one of the private keys opens the backup. Example: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub encrypt_to: Vec<String>,
    /// Hide also what the manifest says of schemas, tables, columns, roles and extensions; list, show and prune go by the rest
    #[arg(long, flag())]
    pub encrypt_manifest: String,
}

/// Who opens an encrypted backup.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Encryption")]
pub struct IdentityArgs {
    /// File of the private key that opens an encrypted backup: as age-keygen writes it, or an SSH key. The key itself is taken from the
    /// variable SAVEPOINT_IDENTITY, never from the command line. Example: ./key.txt
    #[arg(long, value_name = "FILE", value_parser = secret, allow_hyphen_values = true)]
    pub identity: Option<Secret>,
}
