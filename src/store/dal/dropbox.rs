//! Dropbox: `dropbox://folder`.

use super::{
    address::Address,
    remote::Remote,
    service::{Service, Way},
    tokens::{Tokens, Variables},
};
use crate::store::{Promises, place::Backend};
use opendal::{Operator, services::Dropbox};
use std::sync::Arc;

static SERVICE: Service = Service {
    scheme: "dropbox://",
    way: Way::Whole,
    parts_if_new: false,
    // The most that one request may upload (https://www.dropbox.com/developers/documentation/http/documentation#files-upload).
    promises: Promises { exclusive: false, largest: Some(150 << 20), ..Promises::ALL },
    credentials: "set DROPBOX_REFRESH_TOKEN, DROPBOX_APP_KEY and DROPBOX_APP_SECRET, or DROPBOX_ACCESS_TOKEN (which Dropbox ends after \
                  four hours)",
    denied: "give the app the permissions files.metadata.read, files.content.read and files.content.write, then make a new token",
    missing: "check the path of --destination",
    unreachable: "check that this machine reaches api.dropboxapi.com and content.dropboxapi.com",
};

const VARIABLES: Variables = Variables {
    refresh: "DROPBOX_REFRESH_TOKEN",
    client_id: "DROPBOX_APP_KEY",
    client_secret: "DROPBOX_APP_SECRET",
    access: "DROPBOX_ACCESS_TOKEN",
};

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "Dropbox",
    takes: |address| address.starts_with(SERVICE.scheme),
    options: &[],
    check: |given| {
        let prefix = Address::path(given, SERVICE.scheme)?;
        let tokens = Tokens::of(given, &VARIABLES, "Dropbox", SERVICE.credentials)?;
        let opens = move || {
            let service = Dropbox::default();
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
