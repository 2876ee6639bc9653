//! How Dropbox and Google Drive are entered: by a token that makes others, or by one that ends soon.

use crate::{error::Result, secret::Secret, store::place::Given};

/// The variables of a service.
pub(super) struct Variables {
    pub refresh: &'static str,
    pub client_id: &'static str,
    pub client_secret: &'static str,
    pub access: &'static str,
}

/// What they hold.
pub(super) enum Tokens {
    /// Makes access tokens as long as the run goes on.
    Refresh { token: Secret, client_id: String, client_secret: Secret },
    /// Ends after some hours.
    Access(Secret),
}

impl Tokens {
    /// The refresh token where all that it needs is set, else the access token.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`] where neither is; `cure` says what to set.
    pub(super) fn of(given: &Given<'_>, names: &Variables, noun: &str, cure: &str) -> Result<Tokens> {
        let secret = |name: &str| given.env.get(name).map(Secret::new);
        match (secret(names.refresh), given.env.get(names.client_id), secret(names.client_secret)) {
            (Some(token), Some(client_id), Some(client_secret)) => {
                Ok(Tokens::Refresh { token, client_id, client_secret })
            }
            _ => secret(names.access)
                .map(Tokens::Access)
                .ok_or_else(|| given.refuse(&format!("no access to {noun} is known")).hint(cure)),
        }
    }
}
