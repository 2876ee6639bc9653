//! `savepoint restore`.

use super::{
    context::context,
    destination::roots,
    encrypt::identity,
    engine::{engine, stall},
    notify::notify,
    output::{dry_run, output},
    part::part,
    read::{Env, base, list, present},
    selection::{one_only, pick, place_or},
    sign::{signer, verify_key},
    target::{agree, owners, place, target},
    validated::{Output, Validated},
};
use crate::{
    cli::RestoreArgs,
    error::Result,
    restore::RestoreConfig,
    value::{choice, flag, given, usage},
    vault::VerifyLevel,
};

/// Validates the options of a restore.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure, never a secret; so do the functions of all verbs.
pub fn restore(raw: &RestoreArgs, env: Env<'_>) -> Result<Validated<RestoreConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let stall = stall(&raw.engine)?;
    let target = target(&raw.target, env, &mut notices)?.with_stall(stall);
    let (pick, root) = pick(raw.which.as_ref(), &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    one_only(&pick)?;
    let (place, part) = (place(&raw.target, &target)?, part(&raw.part)?);
    let data_only = flag("data-only", &raw.target.data_only)?;
    agree(&place, &part, data_only)?;
    let verify_key = verify_key(&raw.verify_key, &base, Some(&pick))?;
    let verify = choice("verify", &raw.level.verify)?;
    if verify == VerifyLevel::Sent {
        return Err(usage("option verify: sent says something of a backup only while it is taken")
            .hint("use content, rows or none"));
    }
    let config = RestoreConfig {
        destination: place_or(root, &pick, &raw.destination, &base, stall, env, &mut notices)?,
        pick,
        target,
        place,
        confirm: given(raw.target.confirm.as_ref()).map(str::to_owned),
        safety_backup: !flag("no-safety-backup", &raw.target.no_safety_backup)?,
        protect: list("protect", std::slice::from_ref(&raw.target.protect))?,
        part,
        data_only,
        owners: owners(&raw.target)?,
        database_properties: flag("database-properties", &raw.target.database_properties)?,
        verify,
        identity: identity(&raw.identity, &base)?,
        signer: signer(&raw.sign, &base, env)?,
        verify_key,
        force_unproven: flag("force-unproven", &raw.target.force_unproven)?,
        dry_run: dry_run(&raw.dry)?,
        trust_file: flag("trust-file", &raw.trust.trust_file)?,
        engine: engine(&raw.engine, &base, env)?,
        context: context(env),
    };
    let output = Output { dry_run: config.dry_run, ..output(&raw.output)? };
    Ok(Validated { config, notify: notify(&raw.notify, env, roots(&raw.destination, &base)?)?, output, notices })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{self, Command},
        config::prune::prune,
        error::Kind,
        prune::{
            PruneConfig,
            retention::{Policy, Retention, Span},
        },
        vault::Which,
    };

    const TO: &str = "--to=postgresql://u:s3cret@h/app";

    pub(in crate::config) fn run<T>(argv: &[&str], read: impl Fn(Command, Env<'_>) -> Result<T>) -> Result<T> {
        let argv = std::iter::once("savepoint").chain(argv.iter().copied()).map(std::convert::Into::into).collect();
        let env = |_: &str| None;
        read(cli::parse(argv, &env).expect("clap takes it"), &env)
    }

    pub(in crate::config) fn restored(options: &[&str]) -> Result<RestoreConfig> {
        let argv: Vec<&str> = ["restore"].iter().chain(options).copied().collect();
        run(&argv, |command, env| match command {
            Command::Restore(args) => restore(&args, env).map(|v| v.config),
            other => panic!("{other:?}"),
        })
    }

    pub(in crate::config) fn pruned(options: &[&str]) -> Result<PruneConfig> {
        let argv: Vec<&str> = ["prune", "--destination=s3://b/p"].iter().chain(options).copied().collect();
        run(&argv, |command, env| match command {
            Command::Prune(args) => prune(&args, env).map(|v| v.config),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_backup_is_named_by_id_age_address_or_file() {
        let which = |text: &str| restored(&[text, TO, "--destination=s3://b/p"]).expect(text).pick.which;
        assert_eq!(which("latest"), Which::Latest);
        assert_eq!(which("oldest"), Which::Oldest);
        let id = "20261122T030000Z-pre-restore-1a2b3c4";
        assert_eq!(which(id), Which::Id(id.into()));
        assert_eq!(which("Cargo.toml"), Which::File("Cargo.toml".into()));
        let address = format!("s3://bucket/some/prefix/app/2026/11/22/{id}/");
        let config = restored(&[&address, TO]).expect("is an address");
        assert_eq!(config.pick.which, Which::Id(id.into()));
        assert_eq!(config.destination.expect("is named").label(), "s3://bucket/some/prefix");
        assert!(restored(&["Cargo.toml", TO]).expect("a file needs no destination").destination.is_none());
    }

    #[test]
    fn a_folder_of_a_backup_names_its_destination() {
        let root = tempfile::tempdir().expect("has a folder");
        let id = "20261122T030000Z-manual-1a2b3c4";
        let folder = root.path().join("app/2026/11/22").join(id);
        std::fs::create_dir_all(&folder).expect("is made");
        let address = folder.display().to_string();
        let config = restored(&[&address, TO]).expect("is a folder");
        assert_eq!(config.pick.which, Which::File(folder.clone()), "without a manifest it is no backup");
        std::fs::write(folder.join("manifest.json"), "{}").expect("is written");
        let config = restored(&[&address, TO]).expect("is a backup");
        assert_eq!(config.pick.which, Which::Id(id.into()));
        assert_eq!(config.destination.expect("is named").label(), root.path().display().to_string());
    }

    #[test]
    fn a_rule_is_named_or_that_of_the_kind() {
        assert_eq!(
            pruned(&[]).expect("is valid").retention,
            Retention { policy: None, min_keep: 3, confirm_large: false }
        );
        let policy = pruned(&["--keep-daily=7", "--keep-within=30d"]).expect("is valid").retention.policy;
        let within = Some(Span { days: 30, ..Span::default() });
        assert_eq!(policy, Some(Policy { daily: 7, within, ..Policy::default() }));
    }

    #[test]
    fn errors_name_the_option_and_the_cure_and_no_secret() {
        let restores: &[&[&str]] = &[
            &["latest", "--destination=s3://b"],
            &["latest", "--destination=s3://b", "--to=mysql://u:s3cret@h/d"],
            &["latest", TO],
            &["20261122", TO],
            &["s3://bucket/some/key", TO],
            &["all", TO, "--destination=s3://b"],
            &["latest", TO, "--destination=s3://b", "--swap", "--clean"],
            &["latest", TO, "--destination=s3://b", "--create=app"],
            &["latest", TO, "--destination=s3://b", "--data-only", "--schema-only"],
            &["latest", TO, "--destination=s3://b", "--data-only", "--swap"],
            &["latest", TO, "--destination=s3://b", "--swap", "--tables=a"],
            &["latest", TO, "--destination=s3://b", "--no-owner", "--create-roles"],
            &["latest", TO, "--destination=s3://b", "--before=yesterday"],
            &["latest", TO, "--destination=s3://b", "--kind=nightly"],
        ];
        let prunes: &[&[&str]] = &[
            &["--keep-last=0"],
            &["--keep-last=some"],
            &["--keep-within=30"],
            &["--keep-within=0d"],
            &["--min-keep=0"],
        ];
        let errors = restores
            .iter()
            .map(|o| restored(o).expect_err(o[0]))
            .chain(prunes.iter().map(|o| pruned(o).expect_err(o[0])));
        let mut shown = String::new();
        for error in errors {
            assert_eq!(error.kind(), Kind::Usage);
            shown.push_str(&format!("{error}\n  hint: {}\n", error.hint_text().expect("has a cure")));
        }
        assert!(!shown.contains("s3cret"), "{shown}");
        insta::assert_snapshot!("stored_option_errors", shown);
    }
}
