//! Vercel Blob: `vercel-blob://prefix`. The token names the store.

use super::{
    address::Address,
    remote::Remote,
    service::{Service, Way},
};
use crate::{
    secret::Secret,
    store::{Promises, place::Backend},
};
use opendal::{Operator, services::VercelBlob};
use std::sync::Arc;

static SERVICE: Service = Service {
    scheme: "vercel-blob://",
    way: Way::Parts,
    parts_if_new: false,
    promises: Promises { exclusive: false, private: false, ..Promises::ALL },
    credentials: "set BLOB_READ_WRITE_TOKEN to the store's token (Vercel's dashboard, Storage)",
    denied: "set BLOB_READ_WRITE_TOKEN to the token of this store (Vercel's dashboard, Storage)",
    missing: "create the store (Vercel's dashboard, Storage)",
    unreachable: "check that this machine reaches blob.vercel-storage.com",
};

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "Vercel Blob",
    takes: |address| address.starts_with(SERVICE.scheme),
    options: &[],
    check: |given| {
        let prefix = Address::path(given, SERVICE.scheme)?;
        let Some(token) = given.env.get("BLOB_READ_WRITE_TOKEN").map(Secret::new) else {
            return Err(given.refuse("no access to Vercel Blob is known").hint(SERVICE.credentials));
        };
        let opens = move || Operator::new(VercelBlob::default().token(token.expose()));
        Ok(Remote::new(given, &SERVICE, "", prefix, Arc::new(opens)).place())
    },
};
