//! Azure Blob Storage: `azblob://container/prefix`.

use super::{
    address::{Address, first},
    remote::Remote,
    service::{Service, Way},
};
use crate::{
    secret::Secret,
    store::{Promises, place::Backend},
};
use opendal::{Operator, services::Azblob};
use std::sync::Arc;

static SERVICE: Service = Service {
    scheme: "azblob://",
    way: Way::Parts,
    parts_if_new: false,
    promises: Promises::ALL,
    credentials: "set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, or \
                  AZURE_STORAGE_ACCOUNT where a managed or federated identity is at hand (AZURE_CLIENT_ID, AZURE_TENANT_ID)",
    denied: "give the identity the role Storage Blob Data Contributor on the container; a SAS token needs the permissions racwdl",
    missing: "create the container, or name another one by --destination",
    unreachable: "check that this machine reaches the storage account (AZURE_STORAGE_ACCOUNT names it, AZURE_STORAGE_ENDPOINT another \
                  server)",
};

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "a container of Azure Blob Storage",
    takes: |address| address.starts_with(SERVICE.scheme),
    options: &[],
    check: |given| {
        let Address { container, prefix } = Address::of(given, SERVICE.scheme)?;
        let connection = given.env.get("AZURE_STORAGE_CONNECTION_STRING").map(Secret::new);
        let account = first(given.env, &["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME"]);
        let key = first(given.env, &["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY"]).map(Secret::new);
        let sas = given.env.get("AZURE_STORAGE_SAS_TOKEN").map(|sas| Secret::new(sas.trim_start_matches('?')));
        let endpoint = given.env.get("AZURE_STORAGE_ENDPOINT");
        if connection.is_none() && account.is_none() && endpoint.is_none() {
            return Err(given.refuse("the storage account is not known").hint(SERVICE.credentials));
        }
        let name = container.clone();
        let opens = move || {
            let mut service = match &connection {
                Some(connection) => Azblob::from_connection_string(connection.expose())?,
                None => Azblob::default(),
            };
            service = service.container(&name);
            if let Some(account) = &account {
                service = service.account_name(account);
            }
            if let Some(key) = &key {
                service = service.account_key(key.expose());
            }
            if let Some(sas) = &sas {
                service = service.sas_token(sas.expose());
            }
            if let Some(endpoint) = &endpoint {
                service = service.endpoint(endpoint);
            } else if let (None, Some(account)) = (&connection, &account) {
                service = service.endpoint(&format!("https://{account}.blob.core.windows.net"));
            }
            Operator::new(service)
        };
        Ok(Remote::new(given, &SERVICE, &container, prefix, Arc::new(opens)).place())
    },
};
