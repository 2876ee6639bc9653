//! Dropbox: `dropbox://folder`.

use super::{
    address::Address,
    remote::Remote,
    service::{Service, Way},
};
use crate::{
    secret::Secret,
    store::{Promises, place::Backend},
};
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

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "Dropbox",
    takes: |address| address.starts_with(SERVICE.scheme),
    options: &[],
    check: |given| {
        let prefix = Address::path(given, SERVICE.scheme)?;
        let secret = |name: &str| given.env.get(name).map(Secret::new);
        let (access, refresh) = (secret("DROPBOX_ACCESS_TOKEN"), secret("DROPBOX_REFRESH_TOKEN"));
        let (key, password) = (given.env.get("DROPBOX_APP_KEY"), secret("DROPBOX_APP_SECRET"));
        if access.is_none() && (refresh.is_none() || key.is_none() || password.is_none()) {
            return Err(given.refuse("no access to Dropbox is known").hint(SERVICE.credentials));
        }
        let opens = move || {
            let service = Dropbox::default();
            Operator::new(match (&refresh, &key, &password, &access) {
                (Some(refresh), Some(key), Some(password), _) => {
                    service.refresh_token(refresh.expose()).client_id(key).client_secret(password.expose())
                }
                (_, _, _, Some(access)) => service.access_token(access.expose()),
                _ => service,
            })
        };
        Ok(Remote::new(given, &SERVICE, "", prefix, Arc::new(opens)).place())
    },
};
