//! WebDAV: `webdavs://host/path`, and `webdav://host/path` without TLS.

use super::{
    address::Host,
    inner::Puts,
    remote::Remote,
    service::{Service, Way},
};
use crate::{
    error::Result,
    secret::Secret,
    store::{
        Promises,
        place::{Backend, Destination, Given},
    },
};
use opendal::{
    Operator,
    raw::{format_authorization_by_basic, format_authorization_by_bearer},
    services::Webdav,
};
use std::sync::Arc;

static SERVICE: Service = service("webdavs://", true);
static BARE: Service = service("webdav://", false);

const fn service(scheme: &'static str, confidential: bool) -> Service {
    Service {
        scheme,
        way: Way::Renamed,
        parts_if_new: false,
        promises: Promises { exclusive: false, confidential, ..Promises::ALL },
        credentials: "set WEBDAV_USERNAME and WEBDAV_PASSWORD, or WEBDAV_TOKEN",
        denied: "give the user the right to write below that path (PUT, MKCOL, MOVE, DELETE, PROPFIND)",
        missing: "check the path of --destination: it must lie where the server offers WebDAV",
        unreachable: "check the host and the path of --destination: does the server offer WebDAV there?",
    }
}

/// As the list of backends names it.
pub(in crate::store) const BACKEND: Backend = Backend {
    noun: "a WebDAV server",
    takes: |address| address.starts_with(SERVICE.scheme) || address.starts_with(BARE.scheme),
    options: &[],
    check,
};

fn check(given: &Given<'_>) -> Result<Destination> {
    let (service, web) = match given.address.starts_with(SERVICE.scheme) {
        true => (&SERVICE, "https"),
        false => (&BARE, "http"),
    };
    let Host { user, host, path } = Host::of(given, service.scheme)?;
    let user = given.env.get("WEBDAV_USERNAME").or(user);
    let password = Secret::new(given.env.get("WEBDAV_PASSWORD").unwrap_or_default());
    let token = given.env.get("WEBDAV_TOKEN").map(Secret::new);
    let authorization = match (&token, &user) {
        (Some(token), _) => Some(format_authorization_by_bearer(token.expose())),
        (None, Some(user)) => Some(format_authorization_by_basic(user, password.expose())),
        (None, None) => None,
    };
    let authorization = authorization.transpose();
    let authorization = authorization.map_err(|_| given.refuse("no user name or token").hint(service.credentials))?;
    let endpoint = format!("{web}://{host}");
    let puts = Puts { endpoint: endpoint.clone(), authorization: authorization.map(Secret::new) };
    let opens = move || {
        let dav = Webdav::default().endpoint(&endpoint);
        Operator::new(match (&token, &user) {
            (Some(token), _) => dav.token(token.expose()),
            (None, Some(user)) => dav.username(user).password(password.expose()),
            (None, None) => dav,
        })
    };
    let mut remote = Remote::new(given, service, &host, path, Arc::new(opens));
    remote.puts = Some(puts);
    Ok(remote.place())
}
