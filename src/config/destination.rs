//! Where backups lie.

use super::read::{Env, list};
use crate::{
    cli::{AccessKey, DestinationArgs},
    error::Result,
    roots::Roots,
    secret::Secret,
    store::{self, Destination, Given},
    value::{flag, given, usage},
    vault::VerifyLevel,
};
use std::{collections::BTreeSet, path::Path, time::Duration};

/// How the address of a bucket begins. Only there a question mark begins options: a folder's name may hold one.
const BUCKET: &str = "s3://";

/// What may stand behind a bucket's question mark, with the option that it goes before.
const OF_ONE_BUCKET: &[(&str, &str)] = &[
    ("endpoint", "s3-endpoint"),
    ("region", "s3-region"),
    ("path-style", "s3-path-style"),
    ("storage-class", "s3-storage-class"),
    ("sse", "s3-sse"),
    ("kms-key-id", "s3-kms-key-id"),
    ("checksums", "s3-checksums"),
    ("object-lock-mode", "s3-object-lock-mode"),
    ("object-lock-days", "s3-object-lock-days"),
    ("profile", store::s3::PROFILE),
    ("keys", KEYS),
];

const KEYS: &str = "keys";

/// With what the environment says of S3: the AWS SDK heeds some of these variables, and whoever copies a printed command into another
/// shell may not have them; keys of a bucket's own are named by its address.
fn with_environment(raw: &DestinationArgs, env: Env<'_>) -> DestinationArgs {
    let ignored = env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|v| v.trim().eq_ignore_ascii_case("true"));
    let items = items(&raw.destination).unwrap_or_default();
    let bucket = items.iter().any(|d| d.starts_with(BUCKET));
    let named = || env("AWS_ENDPOINT_URL_S3").or_else(|| env("AWS_ENDPOINT_URL"));
    let endpoint = given(raw.s3_endpoint.as_ref()).map(str::to_owned);
    let key = |name: &str| AccessKey {
        id: env(&format!("{name}_ACCESS_KEY_ID")),
        secret: env(&format!("{name}_SECRET_ACCESS_KEY")).map(Secret::new),
        token: env(&format!("{name}_SESSION_TOKEN")).map(Secret::new),
    };
    // Heeded by AWS's own programs, but not by its SDK.
    let bundle = || env("AWS_CA_BUNDLE").filter(|file| bucket && !file.trim().is_empty());
    let names = items.iter().filter_map(|item| of_one(item).ok()?.1.into_iter().find(|(name, _)| *name == KEYS));
    DestinationArgs {
        s3_endpoint: endpoint.or_else(|| named().filter(|_| bucket && !ignored)),
        ca_file: given(raw.ca_file.as_ref()).map(str::to_owned).or_else(bundle),
        keys: names.map(|(_, name)| (name.clone(), key(&name))).collect(),
        ..raw.clone()
    }
}

/// The places that were named; quotes around one that holds a comma are taken off.
fn items(raw: &[String]) -> Result<Vec<String>> {
    let unquoted = |item: String| match item.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.to_owned(),
        None => item,
    };
    Ok(list("destination", raw)?.into_iter().map(unquoted).collect())
}

/// An address without what stands behind its question mark, and that.
fn of_one(item: &str) -> Result<(&str, Vec<(&'static str, String)>)> {
    let Some((address, query)) = item.split_once('?').filter(|_| item.starts_with(BUCKET)) else {
        return Ok((item, Vec::new()));
    };
    let mut options = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some((_, option)) = OF_ONE_BUCKET.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = OF_ONE_BUCKET.iter().map(|(known, _)| *known).collect();
            // Whatever stands there may hold a key.
            return Err(usage(format!("option destination: {address} has an option that is not known"))
                .hint(format!("behind the question mark may stand {}", known.join(", "))));
        };
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        options.push((*option, value));
    }
    Ok((address, options))
}

/// Root certificates that were named.
pub(super) fn roots(raw: &DestinationArgs, base: &Path) -> Result<Option<Roots>> {
    given(raw.ca_file.as_ref()).map(|file| Roots::read(&base.join(file))).transpose()
}

pub(super) fn destination(
    raw: &DestinationArgs,
    base: &Path,
    verify: VerifyLevel,
    stall: Duration,
    env: Env<'_>,
    notices: &mut Vec<String>,
) -> Result<Destination> {
    let raw = &with_environment(raw, env);
    let (mut places, mut labels, mut said) = (Vec::new(), BTreeSet::new(), None::<Vec<String>>);
    for item in items(&raw.destination)? {
        let (place, idle) = one(&item, raw, base, verify, stall, env)?;
        if !labels.insert((place.label(), place.options())) {
            return Err(usage(format!("option destination: {} is named twice", place.label()))
                .hint("a second copy needs a place of its own"));
        }
        places.push(place);
        // An option that one of several places heeds has its effect.
        said = Some(match said {
            Some(said) => said.into_iter().filter(|line| idle.contains(line)).collect(),
            None => idle,
        });
    }
    notices.extend(said.unwrap_or_default());
    Destination::several(places).ok_or_else(|| {
        usage("option destination: not set")
            .hint("set destination to s3://bucket/prefix or to a folder such as ./backups")
    })
}

/// One place.
fn one(
    item: &str,
    raw: &DestinationArgs,
    base: &Path,
    verify: VerifyLevel,
    stall: Duration,
    env: Env<'_>,
) -> Result<(Destination, Vec<String>)> {
    let (address, own) = of_one(item)?;
    let options = [
        ("s3-endpoint", given(raw.s3_endpoint.as_ref())),
        ("s3-region", given(raw.s3_region.as_ref())),
        ("s3-path-style", given(raw.s3_path_style.as_ref())),
        ("s3-storage-class", given(raw.s3_storage_class.as_ref())),
        ("s3-sse", given(raw.s3_sse.as_ref())),
        ("s3-kms-key-id", given(raw.s3_kms_key_id.as_ref())),
        ("s3-checksums", Some(raw.s3_checksums.as_str())),
        ("s3-object-lock-mode", given(raw.s3_object_lock_mode.as_ref())),
        ("s3-object-lock-days", given(raw.s3_object_lock_days.as_ref())),
        ("s3-legal-hold", flag("s3-legal-hold", &raw.s3_legal_hold)?.then_some("true")),
        ("ca-file", given(raw.ca_file.as_ref())),
    ];
    let own = own.iter().map(|(name, text)| (*name, text.as_str())).filter(|(_, text)| !text.is_empty());
    let own: Vec<(&str, &str)> = own.collect();
    let all = options.into_iter().filter(|(name, _)| own.iter().all(|(own, _)| own != name));
    let mut options: Vec<(&str, &str)> = all.filter_map(|(name, text)| Some((name, text?))).collect();
    options.extend(own.iter().filter(|(name, _)| *name != KEYS));
    if let Some((_, name)) = own.iter().find(|(name, _)| *name == KEYS) {
        let key = raw.keys.iter().find(|(known, _)| known == name).map(|(_, key)| key);
        let (Some(id), Some(secret)) = (key.and_then(|k| k.id.as_deref()), key.and_then(|k| k.secret.as_ref())) else {
            return Err(usage(format!("option destination: the keys of {address} are not set"))
                .hint(format!("set the variables {name}_ACCESS_KEY_ID and {name}_SECRET_ACCESS_KEY")));
        };
        options.extend([(store::s3::KEY_ID, id), (store::s3::SECRET_KEY, secret.expose())]);
        options.extend(key.and_then(|k| k.token.as_ref()).map(|token| (store::s3::SESSION_TOKEN, token.expose())));
    }
    let (read_back, put_only) = (verify.reads_back(), verify == VerifyLevel::Sent);
    store::destination(&Given { address, options: &options, base, read_back, put_only, stall, env: store::Env(env) })
}

#[cfg(test)]
mod tests {
    use crate::config::backup::tests::{parsed, parsed_in};

    #[test]
    fn destinations() {
        let local = |text: &str| parsed(&["--destination", text]).expect("is valid").config.destination.label();
        assert_eq!(local("/a/b"), "/a/b");
        assert_eq!(local("./a"), "./a");
        assert_eq!(local("file:///a%20b"), "/a b");
        let env = [("GITHUB_WORKSPACE", "/ws"), ("INPUT_DESTINATION", "./a"), ("DATABASE_URL", "postgresql://u@h/d")];
        assert_eq!(parsed_in(&["action"], &env).expect("is valid").config.destination.label(), "/ws/a");
    }

    #[test]
    fn an_endpoint_of_the_aws_environment_is_named() {
        let endpoint = |argv: &[&str], env: &[(&str, &str)]| {
            let argv: Vec<&str> = ["backup", "--database-url=postgresql://u@h/d"].iter().chain(argv).copied().collect();
            let options = parsed_in(&argv, env).expect("is valid").config.destination.options();
            options.into_iter().find(|(name, _)| *name == "s3-endpoint").map(|(_, value)| value)
        };
        let env = [("AWS_ENDPOINT_URL_S3", "http://s3:1/"), ("AWS_ENDPOINT_URL", "http://all:2")];
        let bucket = "--destination=s3://b/p";
        assert_eq!(endpoint(&[bucket], &env).as_deref(), Some("http://s3:1"));
        assert_eq!(endpoint(&[bucket], &env[1..]).as_deref(), Some("http://all:2"));
        assert_eq!(endpoint(&[bucket, "--s3-endpoint=http://named:3"], &env).as_deref(), Some("http://named:3"));
        let ignored = [env[1], ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "TRUE")];
        assert_eq!(endpoint(&[bucket], &ignored), None);
        // A folder has no use for it, and nobody is to be told that it is ignored.
        let argv = ["backup", "--database-url=postgresql://u@h/d", "--destination=/tmp"];
        assert!(parsed_in(&argv, &env).expect("is valid").notices.is_empty());
    }
}
