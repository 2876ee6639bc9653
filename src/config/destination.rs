//! Where backups lie.

use super::read::Env;
use crate::{
    cli::DestinationArgs,
    error::Result,
    store::{self, Destination, Given},
    value::{given, usage},
    vault::VerifyLevel,
};
use std::{path::Path, time::Duration};

/// The AWS SDK heeds these variables; whoever copies a printed command into another shell may not have them.
pub(super) fn with_endpoint(raw: &DestinationArgs, env: &dyn Fn(&str) -> Option<String>) -> DestinationArgs {
    let ignored = env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|v| v.trim().eq_ignore_ascii_case("true"));
    let bucket = given(raw.destination.as_ref()).is_some_and(|d| d.starts_with("s3://"));
    let named = || env("AWS_ENDPOINT_URL_S3").or_else(|| env("AWS_ENDPOINT_URL"));
    let endpoint = given(raw.s3_endpoint.as_ref()).map(str::to_owned);
    DestinationArgs { s3_endpoint: endpoint.or_else(|| named().filter(|_| bucket && !ignored)), ..raw.clone() }
}

pub(super) fn destination(
    raw: &DestinationArgs,
    base: &Path,
    verify: VerifyLevel,
    stall: Duration,
    env: Env<'_>,
    notices: &mut Vec<String>,
) -> Result<Destination> {
    let Some(text) = given(raw.destination.as_ref()) else {
        return Err(usage("option destination: not set")
            .hint("set destination to s3://bucket/prefix or to a folder such as ./backups"));
    };
    let options = [
        ("s3-endpoint", given(raw.s3_endpoint.as_ref())),
        ("s3-region", given(raw.s3_region.as_ref())),
        ("s3-path-style", given(raw.s3_path_style.as_ref())),
        ("s3-storage-class", given(raw.s3_storage_class.as_ref())),
        ("s3-sse", given(raw.s3_sse.as_ref())),
        ("s3-kms-key-id", given(raw.s3_kms_key_id.as_ref())),
        ("s3-checksums", Some(raw.s3_checksums.as_str())),
    ];
    let options: Vec<(&str, &str)> = options.into_iter().filter_map(|(name, text)| Some((name, text?))).collect();
    let read_back = verify != VerifyLevel::None;
    let (place, said) =
        store::destination(&Given { address: text, options: &options, base, read_back, stall, env: store::Env(env) })?;
    notices.extend(said);
    Ok(place)
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
            parsed_in(&argv, env).expect("is valid").config.destination.option("s3-endpoint")
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
