//! Who signs what is stored, and whose signatures count. An SSH key begins with hyphens: taken for another option it would be printed.

use super::text::secret;
use crate::secret::Secret;
use clap::Args;

/// Who signs what is stored.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Signatures")]
pub struct SignArgs {
    /// File of the private key that signs the manifest and each proof record: SSH (ed25519) without a passphrase, or minisign's, whose
    /// password is taken from SAVEPOINT_SIGN_PASSWORD. The key itself is taken from the variable SAVEPOINT_SIGN_KEY, never from the
    /// command line. Example: ./backup-key
    #[arg(long, value_name = "FILE", value_parser = secret, allow_hyphen_values = true)]
    pub sign_key: Option<Secret>,
}

/// Whose signatures count.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Signatures")]
pub struct VerifyKeyArgs {
    /// Take only what one of these keys signed, manifest and proof record: public keys (ssh-ed25519 …, or minisign's RW…), or files of
    /// them, one a line. Example: ./backup-key.pub
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub verify_key: Vec<String>,
}
