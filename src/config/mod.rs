//! The validated configuration. Nothing past this module reads the environment or the command line.

mod stored;

pub(crate) use crate::value::flag;

pub use stored::{Validated, diff, listing, prune, restore, show, verify};

use crate::{
    archive::compression::{Compression, CompressionChoice, DEFAULT_GZIP_LEVEL, DEFAULT_ZSTD_LEVEL},
    backup::BackupConfig,
    cli::{BackupArgs, DestinationArgs, NotifyArgs, OutputArgs, ServerArgs},
    error::Result,
    inventory::anomalies::Anomaly,
    notify as channels,
    notify::Channels,
    postgres::conninfo::{self, Target},
    secret::Secret,
    store::{self, Destination, Given},
    value::{choice, given, usage},
    vault::{BackupKind, Filter, RunContext, VerifyLevel},
};
use std::{
    num::NonZeroU64,
    path::{Path, PathBuf},
};

/// How the result is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Print a plan and touch nothing.
    pub dry_run: bool,
    /// Print one JSON object.
    pub json: bool,
    /// No progress and no notices.
    pub quiet: bool,
    /// Show details.
    pub verbose: bool,
}

/// Validates the options of a backup. `env` looks a variable up; it is asked for `DATABASE_URL`, the `PG*` variables (see
/// [`conninfo::parse`]), `GITHUB_*` and `PATH`.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure, never a secret.
pub fn backup(raw: &BackupArgs, env: &dyn Fn(&str) -> Option<String>) -> Result<Validated<BackupConfig>> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let mut notices = Vec::new();
    let output = Output { dry_run: flag("dry-run", &raw.dry.dry_run)?, ..output(&raw.output)? };
    let verify = choice::<VerifyLevel>("verify", &raw.level.verify)?;
    let base = if raw.output.in_action { env("GITHUB_WORKSPACE").map(PathBuf::from) } else { None }.unwrap_or_default();

    let url = raw.source.database_url.as_ref().map(|url| url.expose().to_owned()).filter(|url| !url.is_empty());
    let url = url.or_else(|| env("DATABASE_URL")).unwrap_or_default();
    let (source, said) = conninfo::parse(url.trim(), &env).map_err(|e| e.context("option database-url"))?;
    notices.extend(said);
    let verify_url = verify_url(&raw.server, &env, &mut notices)?;
    if verify_url.as_ref().is_some_and(|target| (&target.host, target.port) == (&source.host, source.port)) {
        notices.push("verify-url is the source's own server: the throwaway database is created there".into());
    }
    let path = |text: &str| base.join(text);
    let config = BackupConfig {
        source,
        destination: destination(&with_endpoint(&raw.destination, &env), &base, verify, &mut notices)?,
        kind: kind(raw.kind.kind.as_deref(), env("GITHUB_EVENT_NAME").as_deref())?,
        jobs: number("jobs", &raw.engine.jobs, 1..=64)?,
        max_rate: given(raw.take.max_rate.as_ref()).map(rate).transpose()?,
        compression: compression(&raw.take.compression)?,
        filter: Filter {
            schemas: list("schemas", &raw.part.schemas)?,
            exclude_schemas: list("exclude-schemas", &raw.exclude.exclude_schemas)?,
            tables: list("tables", &raw.part.tables)?,
            exclude_tables: list("exclude-tables", &raw.exclude.exclude_tables)?,
            exclude_table_data: list("exclude-table-data", &raw.exclude.exclude_table_data)?,
            schema_only: flag("schema-only", &raw.part.schema_only)?,
        },
        verify,
        verify_url,
        pg_bin_dirs: pg_bin_dirs(raw.engine.pg_bin_dir.iter().filter_map(|d| given(Some(d))).map(path), env("PATH")),
        scratch_dir: given(raw.engine.scratch_dir.as_ref()).map(path),
        redact_host: flag("redact-host", &raw.take.redact_host)?,
        anomaly: Anomaly {
            max_drop: number("max-drop", &raw.anomaly.max_drop, 0..=100)? as u32,
            max_growth: number("max-growth", &raw.anomaly.max_growth, 0..=1_000_000)? as u32,
            fail: flag("fail-on-anomaly", &raw.anomaly.fail_on_anomaly)?,
            allow_empty: flag("allow-empty", &raw.anomaly.allow_empty)?,
        },
        prune: if flag("prune", &raw.take.prune)? { Some(stored::retention(&raw.policy)?) } else { None },
        context: context(&env),
    };
    Ok(Validated { config, notify: notify(&raw.notify)?, output, notices })
}

fn output(raw: &OutputArgs) -> Result<Output> {
    Ok(Output {
        dry_run: false,
        json: flag("json", &raw.json)?,
        quiet: flag("quiet", &raw.quiet)?,
        verbose: flag("verbose", &raw.verbose)?,
    })
}

fn verify_url(
    raw: &ServerArgs,
    env: &dyn Fn(&str) -> Option<String>,
    notices: &mut Vec<String>,
) -> Result<Option<Target>> {
    let Some(url) = raw.verify_url.as_ref().map(Secret::expose).filter(|url| !url.is_empty()) else { return Ok(None) };
    let (target, said) = conninfo::parse(url, &stored::no_pg(env)).map_err(|e| e.context("option verify-url"))?;
    notices.extend(said);
    Ok(Some(target))
}

fn notify(raw: &NotifyArgs) -> Result<Channels> {
    let given = [("slack-webhook-url", &raw.slack_webhook_url), ("heartbeat-url", &raw.heartbeat_url)];
    let set = |(name, value): (&'static str, &Option<Secret>)| Some((name, value.clone()?));
    let secrets: Vec<_> = given.into_iter().filter_map(set).filter(|(_, s)| !s.expose().is_empty()).collect();
    Channels::of(&channels::Given { secrets: &secrets, notify_on: choice("notify-on", &raw.notify_on)? })
}

fn number(name: &str, text: &str, range: std::ops::RangeInclusive<usize>) -> Result<usize> {
    text.trim().parse().ok().filter(|n| range.contains(n)).ok_or_else(|| {
        usage(format!("option {name}: {text:?} is not a number from {} to {}", range.start(), range.end()))
            .hint(format!("for example {name} 4"))
    })
}

/// Bytes per second: a whole number and a unit, decimal (`k`, `MB`) or binary (`MiB`). Below 1 kB the unit was forgotten.
fn rate(text: &str) -> Result<NonZeroU64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let factor = match unit.strip_suffix("/s").unwrap_or(&unit) {
        "" | "b" => Some(1),
        "k" | "kb" => Some(1_000),
        "m" | "mb" => Some(1_000_000),
        "g" | "gb" => Some(1_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        _ => None,
    };
    let bytes = count.parse::<u64>().ok().zip(factor).and_then(|(count, factor)| count.checked_mul(factor));
    bytes.filter(|bytes| *bytes >= 1_000).and_then(NonZeroU64::new).ok_or_else(|| {
        usage(format!("option max-rate: {text:?} is not a number of bytes per second from 1kB on")).hint(
            "write a whole number and its unit, such as max-rate 20MB (or 20MiB, 500k); leave it out for no limit",
        )
    })
}

/// Splits at commas and line breaks; text inside double quotes is kept whole, as pg_dump's patterns quote names.
fn list(name: &str, values: &[String]) -> Result<Vec<String>> {
    let mut items = Vec::new();
    for value in values {
        let (mut item, mut quoted) = (String::new(), false);
        for c in value.chars().chain(['\n']) {
            match c {
                ',' | '\n' | '\r' if !quoted => {
                    let whole = item.trim();
                    if !whole.is_empty() {
                        items.push(whole.to_owned());
                    }
                    item.clear();
                }
                _ => {
                    quoted ^= c == '"';
                    item.push(c);
                }
            }
        }
        if quoted {
            return Err(usage(format!("option {name}: a double quote is not closed in {value:?}"))
                .hint("write names that need quotes as \"my schema\".\"my table\""));
        }
    }
    Ok(items)
}

fn kind(text: Option<&str>, event: Option<&str>) -> Result<BackupKind> {
    match text.map(str::trim).filter(|t| !t.is_empty()) {
        None => Ok(match event {
            Some("schedule") => BackupKind::Scheduled,
            Some(_) => BackupKind::Snapshot,
            None => BackupKind::Manual,
        }),
        Some("snapshot") => Ok(BackupKind::Snapshot),
        Some("scheduled") => Ok(BackupKind::Scheduled),
        Some("manual") => Ok(BackupKind::Manual),
        Some(other) => {
            Err(usage(format!("option kind: {other:?} is not known")).hint("use one of snapshot, scheduled, manual"))
        }
    }
}

fn compression(text: &str) -> Result<CompressionChoice> {
    let text = text.trim().to_ascii_lowercase();
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level)),
        None => (text.as_str(), None),
    };
    let wrong = || {
        usage(format!("option compression: {text:?} is not known"))
            .hint("use auto, zstd, zstd:1 to zstd:19, gzip, gzip:1 to gzip:9, or none")
    };
    let level = |default: i32, most: i32| match level {
        None => Ok(default),
        Some(level) => level.parse().ok().filter(|l| (1..=most).contains(l)).ok_or_else(wrong),
    };
    match name {
        "" | "auto" if !text.contains(':') => Ok(CompressionChoice::Auto),
        "none" if !text.contains(':') => Ok(CompressionChoice::Named(Compression::None)),
        "zstd" => Ok(CompressionChoice::Named(Compression::Zstd(level(DEFAULT_ZSTD_LEVEL, 19)?))),
        "gzip" => {
            Ok(CompressionChoice::Named(Compression::Gzip(level(DEFAULT_GZIP_LEVEL.cast_signed(), 9)?.unsigned_abs())))
        }
        _ => Err(wrong()),
    }
}

/// The AWS SDK heeds these variables; whoever copies a printed command into another shell may not have them.
fn with_endpoint(raw: &DestinationArgs, env: &dyn Fn(&str) -> Option<String>) -> DestinationArgs {
    let ignored = env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|v| v.trim().eq_ignore_ascii_case("true"));
    let bucket = given(raw.destination.as_ref()).is_some_and(|d| d.starts_with("s3://"));
    let named = || env("AWS_ENDPOINT_URL_S3").or_else(|| env("AWS_ENDPOINT_URL"));
    let endpoint = given(raw.s3_endpoint.as_ref()).map(str::to_owned);
    DestinationArgs { s3_endpoint: endpoint.or_else(|| named().filter(|_| bucket && !ignored)), ..raw.clone() }
}

fn destination(
    raw: &DestinationArgs,
    base: &Path,
    verify: VerifyLevel,
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
    let (place, said) = store::destination(&Given { address: text, options: &options, base, read_back })?;
    notices.extend(said);
    Ok(place)
}

/// As named, then `PATH`, then Debian's `/usr/lib/postgresql/<major>/bin` in order of the major.
fn pg_bin_dirs(named: impl Iterator<Item = PathBuf>, path: Option<String>) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = named.collect();
    dirs.extend(std::env::split_paths(&path.unwrap_or_default()).filter(|dir| dir.is_absolute()));
    let mut installed: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    installed.sort();
    dirs.extend(installed.into_iter().map(|(_, dir)| dir));
    dirs
}

/// Source of the variables:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/variables#default-environment-variables>.
pub(crate) fn context(env: &dyn Fn(&str) -> Option<String>) -> RunContext {
    let run_url = || {
        let (server, repository) = (env("GITHUB_SERVER_URL")?, env("GITHUB_REPOSITORY")?);
        let run = env("GITHUB_RUN_ID")?;
        let attempt = env("GITHUB_RUN_ATTEMPT").filter(|a| a != "1").map(|a| format!("/attempts/{a}"));
        Some(format!("{server}/{repository}/actions/runs/{run}{}", attempt.unwrap_or_default()))
    };
    RunContext {
        repository: env("GITHUB_REPOSITORY"),
        commit: env("GITHUB_SHA"),
        git_ref: env("GITHUB_REF_NAME").or_else(|| env("GITHUB_REF")),
        actor: env("GITHUB_ACTOR"),
        event: env("GITHUB_EVENT_NAME"),
        workflow: env("GITHUB_WORKFLOW"),
        run_url: run_url(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{self, Command},
        error::Kind,
        store::s3::S3Options,
    };

    fn parsed_in(argv: &[&str], env: &[(&str, &str)]) -> Result<Validated<BackupConfig>> {
        let argv = std::iter::once("savepoint").chain(argv.iter().copied()).map(Into::into).collect();
        let env = |key: &str| env.iter().find(|(k, _)| *k == key).map(|(_, v)| v.to_string());
        match cli::parse(argv, &env).expect("clap takes it") {
            Command::Backup(args) => backup(&args, &env),
            Command::Check(args) => backup(&args.backup, &env),
            Command::Action(args) => backup(&args.check.backup, &env),
            other => panic!("{other:?}"),
        }
    }

    fn parsed(options: &[&str]) -> Result<Validated<BackupConfig>> {
        let mut argv = vec!["backup", "--database-url", "postgresql://u:s3cret@db/app"];
        if !options.iter().any(|o| o.starts_with("--destination")) {
            argv.extend(["--destination", "s3://bucket/pre/fix/"]);
        }
        argv.extend(options);
        parsed_in(&argv, &[])
    }

    #[test]
    fn defaults() {
        let p = parsed(&[]).expect("is valid");
        assert_eq!((p.config.jobs, p.config.kind, p.config.verify), (4, BackupKind::Manual, VerifyLevel::Content));
        assert_eq!(p.config.compression, CompressionChoice::Auto);
        assert!(p.config.filter.is_everything());
        assert!(p.notify.is_empty() && p.config.verify_url.is_none() && p.config.scratch_dir.is_none());
        assert_eq!(p.output, Output::default());
        let expected = S3Options { bucket: "bucket".into(), prefix: "pre/fix".into(), ..S3Options::default() };
        assert_eq!(format!("{:?}", p.config.destination), format!("{:?}", Destination::s3(expected)));
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

    #[test]
    fn the_kind_follows_the_event() {
        for (event, kind) in [("schedule", BackupKind::Scheduled), ("push", BackupKind::Snapshot)] {
            let env = [("GITHUB_EVENT_NAME", event), ("DATABASE_URL", "postgresql://u@h/d")];
            let p = parsed_in(&["backup", "--destination=/tmp"], &env).expect("is valid");
            assert_eq!(p.config.kind, kind);
        }
        assert_eq!(parsed(&["--kind", "scheduled"]).expect("is valid").config.kind, BackupKind::Scheduled);
    }

    #[test]
    fn the_database_comes_from_the_option_the_url_or_the_pg_variables() {
        let env = [("DATABASE_URL", "postgresql://u@second/d\n"), ("PGHOST", "third"), ("PGUSER", "u")];
        let host = |argv: &[&str], env: &[(&str, &str)]| {
            let argv: Vec<&str> = ["backup", "--destination=/tmp"].iter().chain(argv).copied().collect();
            parsed_in(&argv, env).expect("is valid").config.source.host
        };
        assert_eq!(host(&["--database-url=postgresql://u@first/d"], &env), "first");
        assert_eq!(host(&[], &env), "second");
        assert_eq!(host(&[], &env[1..]), "third");
        let error = parsed_in(&["backup", "--destination=/tmp"], &[("USER", "u")]).expect_err("names no database");
        assert_eq!(error.kind(), Kind::Usage);
    }

    #[test]
    fn the_sources_variables_stay_out_of_verify_url() {
        let env = [("PGPASSWORD", "s3cret"), ("PGHOST", "db"), ("PGUSER", "u"), ("PGDATABASE", "d")];
        let argv = ["backup", "--destination=/tmp", "--verify-url=postgresql://v@other/postgres"];
        let p = parsed_in(&argv, &env).expect("is valid");
        assert!(p.config.source.password.is_some());
        assert_eq!(p.config.verify_url.expect("is set").password, None);
    }

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
    fn lists_split_at_commas_and_lines_but_not_in_quotes() {
        let p = parsed(&["--tables", "a, b\nc\r\n\n\"x,y\".\"z\"\"\n\"", "--tables=d"]).expect("is valid");
        assert_eq!(p.config.filter.tables, ["a", "b", "c", "\"x,y\".\"z\"\"\n\"", "d"]);
        assert!(!p.config.filter.is_everything());
    }

    #[test]
    fn compression_levels() {
        use CompressionChoice::Named;
        for (text, expected) in [
            ("auto", CompressionChoice::Auto),
            ("none", Named(Compression::None)),
            ("zstd", Named(Compression::Zstd(DEFAULT_ZSTD_LEVEL))),
            ("ZSTD:19", Named(Compression::Zstd(19))),
            ("gzip", Named(Compression::Gzip(DEFAULT_GZIP_LEVEL))),
            ("gzip:9", Named(Compression::Gzip(9))),
        ] {
            assert_eq!(compression(text).expect(text), expected);
        }
    }

    #[test]
    fn rates() {
        for (text, expected) in [
            ("20MB", 20_000_000),
            ("20M", 20_000_000),
            ("20 mb/s", 20_000_000),
            ("20MiB", 20 << 20),
            ("500k", 500_000),
            ("1KiB", 1024),
            ("2G", 2_000_000_000),
            ("2GiB", 2 << 30),
            ("1000", 1000),
            ("1024B", 1024),
        ] {
            assert_eq!(rate(text).expect(text).get(), expected, "{text}");
        }
        for text in
            ["0", "0MB", "20", "-5M", "+5M", "1.5M", "M", "fast", "20MBit", "20M B", "99999999999GB", "1e9", "٣M"]
        {
            assert_eq!(rate(text).expect_err(text).kind(), Kind::Usage);
        }
        assert_eq!(parsed(&["--max-rate="]).expect("is valid").config.max_rate, None);
        assert_eq!(parsed(&["--max-rate=1M"]).expect("is valid").config.max_rate.map(NonZeroU64::get), Some(1_000_000));
    }

    #[test]
    fn the_context_comes_from_the_runner() {
        let env = [
            ("GITHUB_REPOSITORY", "acme/shop"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_RUN_ID", "7"),
            ("GITHUB_RUN_ATTEMPT", "2"),
            ("GITHUB_REF_NAME", "main"),
        ];
        let found = context(&|key| env.iter().find(|(k, _)| *k == key).map(|(_, v)| v.to_string()));
        assert_eq!(found.run_url.as_deref(), Some("https://github.com/acme/shop/actions/runs/7/attempts/2"));
        assert_eq!(found.git_ref.as_deref(), Some("main"));
        assert_eq!(found.commit, None);
    }

    /// Each wrong option with its message and cure, as people see it.
    #[test]
    fn errors_name_the_option_and_the_cure_and_no_secret() {
        let wrong: &[&[&str]] = &[
            &["--jobs=0"],
            &["--jobs=many"],
            &["--max-rate=0"],
            &["--max-rate=20"],
            &["--max-rate=fast"],
            &["--compression=zstd:20"],
            &["--compression=lz4"],
            &["--compression=none:1"],
            &["--kind=nightly"],
            &["--verify=all"],
            &["--dry-run=maybe"],
            &["--tables=\"a"],
            &["--destination=my-bucket"],
            &["--destination=my-bucket/prefix"],
            &["--destination="],
            &["--destination=https://bucket.s3.amazonaws.com/?key=s3cret"],
            &["--destination=gs://bucket"],
            &["--destination=ftp://host"],
            &["--destination=file://host/x"],
            &["--destination=s3://"],
            &["--destination=s3://key:s3cret@bucket"],
            &["--destination=s3://bucket/a//b"],
            &["--s3-endpoint=minio:9000"],
            &["--s3-endpoint=https://key:s3cret@minio"],
            &["--s3-sse=aes"],
            &["--s3-kms-key-id=alias/x"],
            &["--s3-checksums=md5"],
            &["--s3-storage-class=deep_archive"],
            &["--slack-webhook-url=hooks.slack.com/s3cret"],
            &["--notify-on=never"],
            &["--heartbeat-url=hc-ping.com/s3cret"],
            &["--max-drop=200"],
            &["--prune", "--keep-last=0"],
            &["--verify-url=mysql://u:s3cret@h/d"],
        ];
        let mut shown = String::new();
        for options in wrong {
            let error = parsed(options).expect_err(options[0]);
            assert_eq!(error.kind(), Kind::Usage, "{options:?}");
            let hint = error.hint_text().expect("has a cure");
            shown.push_str(&format!("{error}\n  hint: {hint}\n"));
        }
        assert!(!shown.contains("s3cret@") && !shown.contains("=s3cret"), "{shown}");
        insta::assert_snapshot!("option_errors", shown);
    }
}
