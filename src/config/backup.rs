//! `savepoint backup` and `savepoint check`.

use super::{
    anomaly::anomaly,
    context::context,
    copies::copies,
    destination::{destination, roots},
    encrypt::encryption,
    engine::{engine, stall},
    notify::notify,
    output::{dry_run, output},
    part::filter,
    policy::retention,
    proof::{guard, verify_url},
    read::{Env, base, present},
    rehearse::rehearse,
    sign::signer,
    source::source,
    take,
    validated::{Output, Validated},
};
use crate::{
    backup::BackupConfig,
    cli::BackupArgs,
    error::Result,
    value::{choice, flag, given, usage},
    vault::VerifyLevel,
};

/// Validates the options of a backup. `env` looks a variable up; it is asked for `DATABASE_URL`, the `PG*` variables (see
/// [`crate::postgres::conninfo::parse`]), `GITHUB_*` and `PATH`.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure, never a secret.
pub fn backup(raw: &BackupArgs, env: Env<'_>) -> Result<Validated<BackupConfig>> {
    let env = &present(env);
    let mut notices = Vec::new();
    let output = Output { dry_run: dry_run(&raw.dry)?, ..output(&raw.output)? };
    let verify = choice::<VerifyLevel>("verify", &raw.level.verify)?;
    let base = base(&raw.output, env);
    let prune = if flag("prune", &raw.take.prune)? { Some(retention(&raw.policy)?) } else { None };
    if prune.is_some() && verify == VerifyLevel::Sent {
        return Err(usage("option prune: verify sent is for a key that may neither list nor delete")
            .hint("run savepoint prune with a key of its own, or use verify archive, rows or content"));
    }

    let stall = stall(&raw.engine)?;
    let source = source(&raw.source, env, &mut notices)?.with_stall(stall);
    let verify_url = verify_url(&raw.server, env, &mut notices)?.map(|url| url.with_stall(stall));
    if verify_url.as_ref().is_some_and(|target| (&target.host, target.port) == (&source.host, source.port)) {
        notices.push("verify-url is the source's own server: the throwaway database is created there".into());
    }
    let destination = destination(&raw.destination, &base, verify, stall, env, &mut notices)?;
    let (require, verify_all) = copies(&raw.copies, &destination)?;
    let config = BackupConfig {
        source,
        destination,
        require,
        verify_all,
        kind: take::kind(raw.kind.kind.as_deref(), env("GITHUB_EVENT_NAME").as_deref())?,
        max_rate: given(raw.take.max_rate.as_ref()).map(take::rate).transpose()?,
        compression: take::compression(&raw.take.compression)?,
        filter: filter(&raw.part, &raw.exclude)?,
        verify,
        verify_url,
        guard: guard(&raw.server, &mut notices)?,
        engine: engine(&raw.engine, &base, env)?,
        rehearse: rehearse(&raw.rehearse, verify, &base)?,
        encryption: encryption(&raw.encrypt, &base)?,
        signer: signer(&raw.sign, &base, env)?,
        redact_host: flag("redact-host", &raw.take.redact_host)?,
        anomaly: anomaly(&raw.anomaly)?,
        prune,
        context: context(env),
    };
    Ok(Validated { config, notify: notify(&raw.notify, env, roots(&raw.destination, &base)?)?, output, notices })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        archive::compression::CompressionChoice,
        cli::{self, Command},
        clock::STALL,
        error::Kind,
        store::{Destination, s3::S3Options},
        vault::BackupKind,
    };

    pub(in crate::config) fn parsed_in(argv: &[&str], env: &[(&str, &str)]) -> Result<Validated<BackupConfig>> {
        let argv = std::iter::once("savepoint").chain(argv.iter().copied()).map(Into::into).collect();
        let env = |key: &str| env.iter().find(|(k, _)| *k == key).map(|(_, v)| v.to_string());
        match cli::parse(argv, &env).expect("clap takes it") {
            Command::Backup(args) => backup(&args, &env),
            Command::Check(args) => backup(&args.backup, &env),
            Command::Action(args) => backup(&(&*args).into(), &env),
            other => panic!("{other:?}"),
        }
    }

    pub(in crate::config) fn parsed(options: &[&str]) -> Result<Validated<BackupConfig>> {
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
        assert_eq!(
            (p.config.engine.jobs, p.config.kind, p.config.verify),
            (4, BackupKind::Manual, VerifyLevel::Content)
        );
        assert_eq!(p.config.compression, CompressionChoice::Auto);
        assert!(p.config.filter.is_everything());
        assert!(p.notify.is_empty() && p.config.verify_url.is_none() && p.config.engine.scratch_dir.is_none());
        assert_eq!(p.output, Output::default());
        let expected =
            S3Options { bucket: "bucket".into(), prefix: "pre/fix".into(), stall: Some(STALL), ..S3Options::default() };
        assert_eq!(format!("{:?}", p.config.destination), format!("{:?}", Destination::s3(expected)));
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
            &["--destination=dropbox://folder"],
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
            &["--s3-object-lock-mode=governance"],
            &["--s3-object-lock-days=30"],
            &["--s3-object-lock-mode=worm", "--s3-object-lock-days=30"],
            &["--s3-object-lock-mode=compliance", "--s3-object-lock-days=36501"],
            &["--s3-legal-hold=perhaps"],
            &["--prune", "--verify=sent"],
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
