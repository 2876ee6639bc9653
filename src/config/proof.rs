//! Where a backup is proven.

use super::read::{bytes, duration, list, no_pg};
use crate::{
    cli::ServerArgs,
    engine::{Guard, Limit, Limits},
    error::Result,
    postgres::conninfo::{self, Target},
    secret::Secret,
    value::{flag, given, usage},
};

pub(super) fn verify_url(
    raw: &ServerArgs,
    env: &dyn Fn(&str) -> Option<String>,
    notices: &mut Vec<String>,
) -> Result<Option<Target>> {
    let Some(url) = raw.verify_url.as_ref().map(Secret::expose).filter(|url| !url.is_empty()) else { return Ok(None) };
    let (target, said) = conninfo::parse(url, &no_pg(env)).map_err(|e| e.context("option verify-url"))?;
    notices.extend(said);
    Ok(Some(target))
}

/// How the built-in server is kept in.
pub(super) fn guard(raw: &ServerArgs, notices: &mut Vec<String>) -> Result<Guard> {
    let require_sandbox = flag("require-sandbox", &raw.require_sandbox)?;
    let url = raw.verify_url.as_ref().is_some_and(|url| !url.expose().is_empty());
    if require_sandbox && url {
        notices.push("require-sandbox: the server at verify-url is not locked in by this program".into());
    }
    let limits = given(raw.drill_limits.as_ref());
    if limits.is_some() && url {
        notices.push("drill-limits: the server at verify-url is not ours to end, so they do not hold there".into());
    }
    Ok(Guard { require_sandbox, limits: limits.map(read_limits).transpose()?.unwrap_or_default() })
}

fn read_limits(text: &str) -> Result<Limits> {
    let off = Limits { cpu: Limit::Off, memory: Limit::Off, disk: Limit::Off, time: Limit::Off };
    if text.eq_ignore_ascii_case("none") {
        return Ok(off);
    }
    let mut limits = Limits::default();
    for item in list("drill-limits", &[text.to_owned()])? {
        let wrong = || {
            usage(format!("option drill-limits: {item:?} is no limit"))
                .hint("write none, or some of cpu=30m, memory=4GiB, disk=20GiB, time=1h, such as time=2h,disk=none")
        };
        let (name, value) = item.split_once('=').map(|(name, value)| (name.trim(), value.trim())).ok_or_else(wrong)?;
        let off = value.eq_ignore_ascii_case("none");
        let size = || match bytes(value).filter(|bytes| *bytes > 0) {
            _ if off => Ok(Limit::Off),
            Some(bytes) => Ok(Limit::At(bytes)),
            None => Err(wrong()),
        };
        let time = || match duration("drill-limits", Some(&value.to_owned())) {
            _ if off => Ok(Limit::Off),
            Ok(Some(time)) => Ok(Limit::At(time)),
            _ => Err(wrong()),
        };
        match name {
            "cpu" => limits.cpu = time()?,
            "time" => limits.time = time()?,
            "memory" => limits.memory = size()?,
            "disk" => limits.disk = size()?,
            _ => return Err(wrong()),
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::backup::tests::{parsed, parsed_in},
        error::Kind,
    };
    use std::time::Duration;

    #[test]
    fn limits_of_the_throwaway_server() {
        let limits = read_limits("cpu=90s, memory = 4GiB,disk=none,TIME=2h".to_lowercase().as_str()).expect("is valid");
        assert_eq!(limits.cpu, Limit::At(Duration::from_secs(90)));
        assert_eq!((limits.memory, limits.disk), (Limit::At(4 << 30), Limit::Off));
        assert_eq!(limits.time, Limit::At(Duration::from_secs(7200)));
        assert_eq!(read_limits("None").expect("is valid").time, Limit::Off);
        assert_eq!(read_limits("time=5s").expect("is valid").memory, Limit::Usual);
        for text in ["1h", "time", "time=", "time=0s", "memory=0", "memory=many", "io=1MB", "disk=-1"] {
            assert_eq!(read_limits(text).expect_err(text).kind(), Kind::Usage);
        }
        let guard = parsed(&["--require-sandbox", "--drill-limits=time=1h"]).expect("is valid").config.guard;
        assert!(guard.require_sandbox && guard.limits.time == Limit::At(Duration::from_secs(3600)));
        let url = "--verify-url=postgresql://v@other/postgres";
        let both = parsed(&["--require-sandbox", "--drill-limits=time=1h", url]).expect("is valid");
        for option in ["require-sandbox: ", "drill-limits: "] {
            assert!(both.notices.iter().any(|n| n.starts_with(option)), "{:?}", both.notices);
        }
    }

    #[test]
    fn the_sources_variables_stay_out_of_verify_url() {
        let env = [("PGPASSWORD", "s3cret"), ("PGHOST", "db"), ("PGUSER", "u"), ("PGDATABASE", "d")];
        let argv = ["backup", "--destination=/tmp", "--verify-url=postgresql://v@other/postgres"];
        let p = parsed_in(&argv, &env).expect("is valid");
        assert!(p.config.source.password.is_some());
        assert_eq!(p.config.verify_url.expect("is set").password, None);
    }
}
