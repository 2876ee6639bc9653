//! An address after its scheme, and what of it may be shown.

use crate::{
    error::Result,
    store::place::{Env, Given},
};
use percent_encoding::percent_decode_str;

/// `container/prefix` behind a scheme.
pub(super) struct Address {
    pub(super) container: String,
    /// Without a slash at either end; may be empty.
    pub(super) prefix: String,
}

impl Address {
    /// `scheme://container/prefix`.
    pub(super) fn of(given: &Given<'_>, scheme: &str) -> Result<Self> {
        let rest = given.address.strip_prefix(scheme).unwrap_or_default();
        let (container, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if container.is_empty() || !container.chars().all(|c| c.is_ascii_alphanumeric() || "-._$".contains(c)) {
            // Credentials in front of an @ must not be shown.
            let shown = container.rsplit('@').next().unwrap_or_default();
            return Err(given
                .refuse(&format!("{shown:?} is no plain name behind {scheme}"))
                .hint(format!("write {scheme}name/prefix; credentials stand in variables: see docs/providers.md")));
        }
        Ok(Address { container: container.to_owned(), prefix: prefix(given, rest)? })
    }

    /// `scheme://prefix`, of a store that has no containers.
    pub(super) fn path(given: &Given<'_>, scheme: &str) -> Result<String> {
        prefix(given, given.address.strip_prefix(scheme).unwrap_or_default())
    }
}

/// Where keys begin: without a slash at either end.
pub(super) fn prefix(given: &Given<'_>, text: &str) -> Result<String> {
    let prefix = text.trim_matches('/');
    if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(given
            .refuse(&format!("the prefix {prefix:?} has an empty part or dots for a part"))
            .hint("write a plain path, such as backups/prod"));
    }
    if prefix.contains(['?', '#', '@']) {
        // What stands there may be a signature or a password.
        return Err(given
            .refuse("the prefix holds one of ? # @")
            .hint("write a plain path; credentials stand in variables: see docs/providers.md"));
    }
    Ok(prefix.to_owned())
}

/// `user@host:port/path`, as web addresses have them: `%20` stands for a blank.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) struct Host {
    pub(in crate::store) user: Option<String>,
    /// With its port, where one is named.
    pub(in crate::store) host: String,
    /// Decoded, without a slash at either end.
    pub(in crate::store) path: String,
}

impl Host {
    pub(in crate::store) fn of(given: &Given<'_>, scheme: &str) -> Result<Self> {
        let example =
            || format!("write {scheme}host/path; passwords and keys stand in variables: see docs/providers.md");
        let rest = given.address.strip_prefix(scheme).unwrap_or_default();
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(given.refuse("a password does not belong into the address").hint(example()));
        }
        let plain =
            |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains(['?', '#', '@', '%', ' ']);
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
            _ => (host, None),
        };
        if !plain(name) || port.is_some_and(|port| port.parse::<u16>().is_err()) || user.is_some_and(|u| !plain(u)) {
            return Err(given.refuse("there is no plain host name in the address").hint(example()));
        }
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|_| given.refuse("the path is no valid UTF-8").hint(example()))?;
        Ok(Host { user: user.map(str::to_owned), host: host.to_owned(), path: prefix(given, &decoded)? })
    }

    /// The host's name and port.
    pub(in crate::store) fn split(&self) -> (&str, Option<u16>) {
        match self.host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name.trim_matches(['[', ']']), port.parse().ok()),
            _ => (self.host.trim_matches(['[', ']']), None),
        }
    }
}

/// The value of the first of these variables that has one.
pub(super) fn first(env: Env<'_>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Env<'static> = Env(&|_| None);

    #[test]
    fn hosts() {
        let host = |address: &str| Host::of(&Given::plain(address, NONE), "x://").map_err(|e| format!("{e:?}"));
        let found = host("x://me@files.example.com:2222/a%20b/c/").expect("is valid");
        assert_eq!((found.user.as_deref(), found.split()), (Some("me"), ("files.example.com", Some(2222))));
        assert_eq!(found.path, "a b/c");
        assert_eq!(host("x://[::1]:22/p").expect("is valid").split(), ("::1", Some(22)));
        assert_eq!(host("x://[::1]").expect("is valid").split(), ("::1", None));
        for bad in ["x://", "x:///p", "x://-oProxyCommand=x/p", "x://h:port/p", "x://h/a/../b", "x://h/p?sig=hunter2"] {
            assert!(!host(bad).expect_err(bad).contains("hunter2"), "{bad}");
        }
        let refused = host("x://me:hunter2@h/p").expect_err("is refused");
        assert!(refused.contains("password") && !refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn containers() {
        let of = |address: &str| Address::of(&Given::plain(address, NONE), "gs://").map(|a| (a.container, a.prefix));
        assert_eq!(of("gs://b/p/q/").expect("is valid"), ("b".into(), "p/q".into()));
        assert_eq!(of("gs://b").expect("is valid"), ("b".into(), String::new()));
        for bad in ["gs://", "gs:///p", "gs://b/../c", "gs://key:hunter2@b/p"] {
            let refused = of(bad).expect_err(bad);
            assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        }
    }
}
