//! Google Cloud Storage: `gs://bucket/prefix`.

use super::{
    address::Address,
    remote::Remote,
    service::{Service, Way},
};
use crate::store::{Promises, place::Backend};
use opendal::{Operator, services::Gcs};
use std::sync::Arc;

static SERVICE: Service = Service {
    scheme: "gs://",
    way: Way::Parts,
    // Google's upload in one session: one that nobody ends is gone after a week, where parts would stay and cost until a rule of
    // the bucket drops them. opendal has it for what is stored on a condition.
    parts_if_new: true,
    promises: Promises::ALL,
    credentials: "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account's key (the action google-github-actions/auth \
                  sets it), or run where a service account is attached",
    denied: "give the service account the role roles/storage.objectUser on the bucket; without the right to delete, \
             roles/storage.objectCreator and roles/storage.objectViewer",
    missing: "create the bucket, or name another one by --destination",
    unreachable: "check that this machine reaches storage.googleapis.com (STORAGE_EMULATOR_HOST names another server)",
};

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "a bucket of Google Cloud Storage",
    takes: |address| address.starts_with(SERVICE.scheme),
    options: &[],
    check: |given| {
        let Address { container, prefix } = Address::of(given, SERVICE.scheme)?;
        // Google's own libraries know this variable: a server for tests, which asks for no credentials.
        let emulator = given.env.get("STORAGE_EMULATOR_HOST");
        let emulator = emulator.map(|host| if host.contains("://") { host } else { format!("http://{host}") });
        let bucket = container.clone();
        let opens = move || {
            let mut service = Gcs::default().bucket(&bucket);
            if let Some(host) = &emulator {
                service = service.endpoint(host.trim_end_matches('/')).skip_signature();
            }
            Operator::new(service)
        };
        Ok(Remote::new(given, &SERVICE, &container, prefix, Arc::new(opens)).place())
    },
};
