//! Google Drive: `gdrive://folder`, below "My Drive".

use super::{
    address::Address,
    remote::Remote,
    service::{Service, Way},
};
use crate::{
    secret::Secret,
    store::{Promises, place::Backend},
};
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

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "Google Drive",
    takes: |address| address.starts_with(SERVICE.scheme),
    options: &[],
    check: |given| {
        let prefix = Address::path(given, SERVICE.scheme)?;
        let secret = |name: &str| given.env.get(name).map(Secret::new);
        let (access, refresh) = (secret("GOOGLE_DRIVE_ACCESS_TOKEN"), secret("GOOGLE_DRIVE_REFRESH_TOKEN"));
        let (id, password) = (given.env.get("GOOGLE_DRIVE_CLIENT_ID"), secret("GOOGLE_DRIVE_CLIENT_SECRET"));
        if access.is_none() && (refresh.is_none() || id.is_none() || password.is_none()) {
            return Err(given.refuse("no access to Google Drive is known").hint(SERVICE.credentials));
        }
        let opens = move || {
            let service = Gdrive::default();
            Operator::new(match (&refresh, &id, &password, &access) {
                (Some(refresh), Some(id), Some(password), _) => {
                    service.refresh_token(refresh.expose()).client_id(id).client_secret(password.expose())
                }
                (_, _, _, Some(access)) => service.access_token(access.expose()),
                _ => service,
            })
        };
        Ok(Remote::new(given, &SERVICE, "", prefix, Arc::new(opens)).place())
    },
};
