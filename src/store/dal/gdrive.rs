//! Google Drive: `gdrive://folder`, below "My Drive".

use super::{
    address::Address,
    remote::Remote,
    service::{Service, Way},
    tokens::{Tokens, Variables},
};
use crate::store::{Promises, place::Backend};
use opendal::{Operator, services::Gdrive};
use std::sync::Arc;

static SERVICE: Service = Service {
    scheme: "gdrive://",
    way: Way::Whole,
    parts_if_new: false,
    // Drive takes more; it is what this machine keeps in memory for it.
    promises: Promises { exclusive: false, largest: Some(150 << 20), ..Promises::ALL },
    credentials: "set GOOGLE_DRIVE_REFRESH_TOKEN, GOOGLE_DRIVE_CLIENT_ID and GOOGLE_DRIVE_CLIENT_SECRET, or GOOGLE_DRIVE_ACCESS_TOKEN \
                  (which Google ends after an hour)",
    denied: "ask for the scope https://www.googleapis.com/auth/drive.file (or drive), then make a new token",
    missing: "check the path of --destination",
    unreachable: "check that this machine reaches www.googleapis.com",
};

const VARIABLES: Variables = Variables {
    refresh: "GOOGLE_DRIVE_REFRESH_TOKEN",
    client_id: "GOOGLE_DRIVE_CLIENT_ID",
    client_secret: "GOOGLE_DRIVE_CLIENT_SECRET",
    access: "GOOGLE_DRIVE_ACCESS_TOKEN",
};

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "Google Drive",
    takes: |address| address.starts_with(SERVICE.scheme),
    options: &[],
    check: |given| {
        let prefix = Address::path(given, SERVICE.scheme)?;
        let tokens = Tokens::of(given, &VARIABLES, "Google Drive", SERVICE.credentials)?;
        let opens = move || {
            let service = Gdrive::default();
            Operator::new(match &tokens {
                Tokens::Refresh { token, client_id, client_secret } => {
                    service.refresh_token(token.expose()).client_id(client_id).client_secret(client_secret.expose())
                }
                Tokens::Access(token) => service.access_token(token.expose()),
            })
        };
        Ok(Remote::new(given, &SERVICE, "", prefix, Arc::new(opens)).place())
    },
};
