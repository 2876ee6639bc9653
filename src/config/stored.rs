//! Options of the verbs that work on stored backups, validated.

use super::{
    Output, choice, context, destination, flag, given, list, notify, number, output, pg_bin_dirs, usage, with_endpoint,
};
use crate::{
    cli::{
        AgeArgs, DatabaseArgs, DestinationArgs, DiffArgs, DryRunArgs, EngineArgs, ListArgs, OfKindArgs, OutputArgs,
        PickArgs, PolicyArgs, PruneArgs, RestoreArgs, ShowArgs, VerifyArgs,
    },
    drill::VerifyConfig,
    engine::Engine,
    error::Result,
    inventory::{DiffConfig, ListConfig, ShowConfig},
    notify::Channels,
    postgres::conninfo,
    prune::{
        PruneConfig,
        retention::{Policy, Retention, Span},
    },
    restore::{Owners, Place, RestoreConfig},
    store::Destination,
    vault::{BackupKind, Filter, Pick, VerifyLevel, Which, is_id},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339, macros::format_description};

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the options of a verb say, validated.
#[derive(Debug)]
pub struct Validated<T> {
    /// What the verb needs.
    pub config: T,
    /// Who is told.
    pub notify: Channels,
    /// How the result is shown.
    pub output: Output,
    /// What the user should know about the options.
    pub notices: Vec<String>,
}

impl<T> Validated<T> {
    /// The same for what a verb makes of it.
    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Validated<U> {
        Validated { config: to(self.config), notify: self.notify, output: self.output, notices: self.notices }
    }
}

/// Validates the options of a restore.
///
/// # Errors
/// [`crate::error::Kind::Usage`], naming the option and the cure, never a secret; so do all functions of this module.
pub fn restore(raw: &RestoreArgs, env: Env<'_>) -> Result<Validated<RestoreConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let Some(to) = raw.target.to.as_ref().filter(|url| !url.expose().is_empty()) else {
        return Err(usage("option to: not set")
            .hint("set to (or SAVEPOINT_TO) to the target, such as postgresql://user:password@host/app"));
    };
    let (target, said) = conninfo::parse(to.expose(), &no_pg(env)).map_err(|e| e.context("option to"))?;
    notices.extend(said);
    let (pick, root) = pick(raw.which.as_ref(), &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    one_only(&pick)?;
    let (swap, clean) = (flag("swap", &raw.target.swap)?, flag("clean", &raw.target.clean)?);
    let create = given(raw.target.create.as_ref()).map(str::to_owned);
    let place = match (create, swap, clean) {
        (_, true, true) | (Some(_), _, true) => {
            return Err(usage("option clean: it empties the target, while create and swap leave it as it is")
                .hint("give one of create, swap and clean"));
        }
        (name, true, false) => Place::Swap(name),
        (Some(name), false, false) => Place::New(name),
        (None, false, true) => Place::Clean,
        (None, false, false) => Place::Empty,
    };
    if let Place::New(name) | Place::Swap(Some(name)) = &place
        && *name == target.dbname
    {
        return Err(usage(format!("option create: {name:?} is the target database itself"))
            .hint("choose another name, or leave create out: a new name is made up for swap"));
    }
    let part = Filter {
        schemas: list("schemas", &raw.part.schemas)?,
        tables: list("tables", &raw.part.tables)?,
        schema_only: flag("schema-only", &raw.part.schema_only)?,
        ..Filter::default()
    };
    let data_only = flag("data-only", &raw.target.data_only)?;
    if data_only && part.schema_only {
        return Err(usage("option data-only: schema-only asks for the opposite").hint("give one of them"));
    }
    if data_only && place != Place::Empty {
        return Err(usage("option data-only: rows go into tables that are there")
            .hint("leave out create, swap and clean; the tables must be empty"));
    }
    if matches!(place, Place::Swap(_)) && (part.names_a_part() || part.schema_only) {
        return Err(usage("option swap: a part of a database must not take the place of the whole")
            .hint("restore the part by create into a database of its own, and copy over what you need"));
    }
    let owners = match (flag("no-owner", &raw.target.no_owner)?, flag("create-roles", &raw.target.create_roles)?) {
        (true, true) => {
            return Err(usage("option no-owner: create-roles asks for the opposite").hint("give one of them"));
        }
        (true, false) => Owners::Skip,
        (false, true) => Owners::Create,
        (false, false) => Owners::Keep,
    };
    let config = RestoreConfig {
        destination: place_or(root, &pick, &raw.destination, &base, &mut notices)?,
        pick,
        target,
        place,
        confirm: given(raw.target.confirm.as_ref()).map(str::to_owned),
        safety_backup: !flag("no-safety-backup", &raw.target.no_safety_backup)?,
        protect: list("protect", std::slice::from_ref(&raw.target.protect))?,
        part,
        data_only,
        owners,
        verify: choice("verify", &raw.level.verify)?,
        force_unproven: flag("force-unproven", &raw.target.force_unproven)?,
        dry_run: dry_run(&raw.dry)?,
        engine: engine(&raw.engine, &base, env)?,
        context: context(env),
    };
    let output = Output { dry_run: config.dry_run, ..output(&raw.output)? };
    Ok(Validated { config, notify: notify(&raw.notify)?, output, notices })
}

/// Validates the options of a restore drill.
pub fn verify(raw: &VerifyArgs, env: Env<'_>) -> Result<Validated<VerifyConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let (pick, root) = pick(raw.which.as_ref(), &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    let level = choice::<VerifyLevel>("verify", &raw.level.verify)?;
    if level == VerifyLevel::None {
        return Err(usage("option verify: none proves nothing").hint("use content, rows or archive"));
    }
    let check_sql = given(raw.drill.check_sql.as_ref()).map(|file| base.join(file));
    if check_sql.is_some() && level == VerifyLevel::Archive {
        return Err(usage("option check-sql: with verify archive nothing is restored to ask")
            .hint("use verify content or rows"));
    }
    let config = VerifyConfig {
        destination: place_or(root, &pick, &raw.destination, &base, &mut notices)?,
        pick,
        level,
        verify_url: super::verify_url(&raw.server, env, &mut notices)?,
        check_sql,
        max_rto: duration("max-rto", raw.drill.max_rto.as_ref())?,
        max_age: duration("max-age", raw.drill.max_age.as_ref())?,
        engine: engine(&raw.engine, &base, env)?,
    };
    Ok(Validated { config, notify: notify(&raw.notify)?, output: output(&raw.output)?, notices })
}

/// Validates the options of a list.
pub fn listing(raw: &ListArgs, env: Env<'_>) -> Result<Validated<ListConfig>> {
    let base = base(&raw.output, env);
    let mut notices = Vec::new();
    let AgeArgs { newer_than, older_than, proof } = &raw.age;
    let config = ListConfig {
        destination: destination(&raw.destination, &base, VerifyLevel::None, &mut notices)?,
        // A list is not narrowed by a variable that nobody thought of.
        database: given(raw.database.database.as_ref()).map(str::to_owned),
        kind: kind(&raw.of_kind)?,
        newer_than: duration("newer-than", newer_than.as_ref())?,
        older_than: duration("older-than", older_than.as_ref())?,
        proof: given(proof.as_ref()).map(|text| choice("proof", text)).transpose()?,
    };
    Ok(Validated { config, notify: Channels::default(), output: output(&raw.output)?, notices })
}

/// Validates the options of `savepoint show`.
pub fn show(raw: &ShowArgs, env: Env<'_>) -> Result<Validated<ShowConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let (pick, root) = pick(raw.which.as_ref(), &raw.pick, &raw.of_kind, &raw.database, &base, env)?;
    one_only(&pick)?;
    // Its page names a command for other shells.
    let place = with_endpoint(&raw.destination, env);
    let config = ShowConfig { destination: stored_in(root, &pick, &place, &base, &mut notices)?, pick };
    Ok(Validated { config, notify: Channels::default(), output: output(&raw.output)?, notices })
}

/// Validates the options of a comparison.
pub fn diff(raw: &DiffArgs, env: Env<'_>) -> Result<Validated<DiffConfig>> {
    let (env, base) = (&present(env), base(&raw.output, env));
    let mut notices = Vec::new();
    let side = |which: Option<&String>| pick(which, &raw.pick, &raw.of_kind, &raw.database, &base, env);
    let two =
        || usage("two backups are needed").hint("savepoint diff ONE OTHER, or the inputs backup and compare-with");
    let one = raw.which.as_ref().or(raw.pick.backup.as_ref()).filter(|w| !w.trim().is_empty()).ok_or_else(two)?;
    let other =
        raw.other.as_ref().or(raw.with.compare_with.as_ref()).filter(|w| !w.trim().is_empty()).ok_or_else(two)?;
    let ((one, root), (other, other_root)) = (side(Some(one))?, side(Some(other))?);
    for pick in [&one, &other] {
        one_only(pick)?;
    }
    let root = root.or(other_root);
    let config = DiffConfig { destination: stored_in(root, &one, &raw.destination, &base, &mut notices)?, one, other };
    Ok(Validated { config, notify: Channels::default(), output: output(&raw.output)?, notices })
}

/// Validates the options of a pruning.
pub fn prune(raw: &PruneArgs, env: Env<'_>) -> Result<Validated<PruneConfig>> {
    let base = base(&raw.output, env);
    let mut notices = Vec::new();
    let config = PruneConfig {
        destination: destination(&raw.destination, &base, VerifyLevel::None, &mut notices)?,
        database: given(raw.database.database.as_ref()).map(str::to_owned),
        kind: kind(&raw.of_kind)?,
        retention: retention(&raw.policy)?,
        dry_run: dry_run(&raw.dry)?,
    };
    let output = Output { dry_run: config.dry_run, ..output(&raw.output)? };
    Ok(Validated { config, notify: notify(&raw.notify)?, output, notices })
}

/// Validates a retention rule.
pub(super) fn retention(raw: &PolicyArgs) -> Result<Retention> {
    let number = |name: &str, text: &Option<String>| match given(text.as_ref()) {
        None => Ok(None),
        Some(text) => number(name, text, 0..=100_000).map(|n| Some(n as u32)),
    };
    let counts = [
        number("keep-last", &raw.keep_last)?,
        number("keep-daily", &raw.keep_daily)?,
        number("keep-weekly", &raw.keep_weekly)?,
        number("keep-monthly", &raw.keep_monthly)?,
        number("keep-yearly", &raw.keep_yearly)?,
    ];
    let within = given(raw.keep_within.as_ref()).map(span).transpose()?;
    let named = counts.iter().any(Option::is_some) || within.is_some();
    let [last, daily, weekly, monthly, yearly] = counts.map(Option::unwrap_or_default);
    let policy = Policy { last, daily, weekly, monthly, yearly, within };
    if named && (policy == Policy::default() || policy == Policy { within: Some(Span::default()), ..Policy::default() })
    {
        return Err(usage("the retention rule keeps nothing")
            .hint("give one of the keep options a number above 0, such as keep-daily 7"));
    }
    let min_keep = super::number("min-keep", &raw.min_keep, 1..=100_000)?;
    Ok(Retention {
        policy: named.then_some(policy),
        min_keep,
        confirm_large: flag("confirm-large", &raw.confirm_large)?,
    })
}

/// Variables that say something.
fn present<'a>(env: Env<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| env(name).filter(|value| !value.trim().is_empty())
}

/// The source's variables must not leak into another server's address.
pub(super) fn no_pg<'a>(env: Env<'a>) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| if name.starts_with("PG") && name != "PGPASSFILE" { None } else { env(name) }
}

/// Where relative paths begin.
fn base(output: &OutputArgs, env: Env<'_>) -> PathBuf {
    if output.in_action { env("GITHUB_WORKSPACE").map(PathBuf::from) } else { None }.unwrap_or_default()
}

fn dry_run(raw: &DryRunArgs) -> Result<bool> {
    flag("dry-run", &raw.dry_run)
}

fn engine(raw: &EngineArgs, base: &Path, env: Env<'_>) -> Result<Engine> {
    Ok(Engine {
        jobs: number("jobs", &raw.jobs, 1..=64)?,
        pg_bin_dirs: pg_bin_dirs(
            raw.pg_bin_dir.iter().filter_map(|d| given(Some(d))).map(|d| base.join(d)),
            env("PATH"),
        ),
        scratch_dir: given(raw.scratch_dir.as_ref()).map(|d| base.join(d)),
    })
}

fn kind(raw: &OfKindArgs) -> Result<Option<BackupKind>> {
    let Some(text) = given(raw.kind.as_ref()) else { return Ok(None) };
    let all = [BackupKind::Snapshot, BackupKind::Scheduled, BackupKind::Manual, BackupKind::PreRestore];
    all.into_iter().find(|k| k.name() == text).map(Some).ok_or_else(|| {
        usage(format!("option kind: {text:?} is not known")).hint("use one of snapshot, scheduled, manual, pre-restore")
    })
}

fn one_only(pick: &Pick) -> Result<()> {
    if pick.which != Which::All {
        return Ok(());
    }
    Err(usage("option backup: all names many").hint("use latest, oldest or an id; savepoint list shows them"))
}

/// What the words say, and the destination when they are a whole address.
fn pick(
    which: Option<&String>,
    args: &PickArgs,
    of_kind: &OfKindArgs,
    database: &DatabaseArgs,
    base: &Path,
    env: Env<'_>,
) -> Result<(Pick, Option<String>)> {
    let mut root = None;
    let which = match given(which.or(args.backup.as_ref())) {
        None | Some("latest") => Which::Latest,
        Some("oldest") => Which::Oldest,
        Some("all") => Which::All,
        Some(id) if is_id(id) => Which::Id(id.to_owned()),
        Some(text) => {
            let path = text.trim_end_matches('/').trim_end_matches("/manifest.json");
            let parts: Vec<&str> = path.rsplitn(6, '/').collect();
            let (id, local) = (parts.first().copied().unwrap_or_default(), !text.contains("://"));
            if is_id(id) && parts.len() == 6 && (!local || base.join(path).join("manifest.json").exists()) {
                // <root>/<database>/<YYYY>/<MM>/<DD>/<id>
                root = Some(if local { base.join(parts[5]).display().to_string() } else { parts[5].to_owned() });
                Which::Id(id.to_owned())
            } else if local && base.join(text).exists() {
                Which::File(base.join(text))
            } else {
                return Err(usage(format!("option backup: {text:?} is no id, no address of a backup and no file"))
                    .hint("use latest, oldest, an id as savepoint list shows it, or the path of a file that pg_dump wrote"));
            }
        }
    };
    let named = given(database.database.as_ref()).map(str::to_owned);
    let of_url = || {
        let url = database.of_url.as_ref().map(|u| u.expose().to_owned()).filter(|u| !u.is_empty());
        let url = url.or_else(|| env("SAVEPOINT_DATABASE_URL")).or_else(|| env("DATABASE_URL"))?;
        conninfo::parse(url.trim(), &no_pg(env)).ok().map(|(target, _)| target.dbname)
    };
    let pick = Pick {
        which,
        before: given(args.before.as_ref()).map(moment).transpose()?,
        kind: kind(of_kind)?,
        database: named.or_else(of_url),
    };
    Ok((pick, root))
}

/// The destination of an address, else the named one, which a file can do without.
fn place_or(
    root: Option<String>,
    pick: &Pick,
    raw: &DestinationArgs,
    base: &Path,
    notices: &mut Vec<String>,
) -> Result<Option<Destination>> {
    if matches!(pick.which, Which::File(_)) && root.is_none() && given(raw.destination.as_ref()).is_none() {
        return Ok(None);
    }
    let raw = DestinationArgs { destination: root.or_else(|| raw.destination.clone()), ..raw.clone() };
    destination(&raw, base, VerifyLevel::None, notices).map(Some)
}

fn stored_in(
    root: Option<String>,
    pick: &Pick,
    raw: &DestinationArgs,
    base: &Path,
    notices: &mut Vec<String>,
) -> Result<Destination> {
    let no_file =
        || usage("option backup: a file that pg_dump wrote has no manifest to look at").hint("use verify for it");
    if matches!(pick.which, Which::File(_)) {
        return Err(no_file());
    }
    place_or(root, pick, raw, base, notices)?.ok_or_else(no_file)
}

/// A moment in UTC: RFC 3339, or a date, or a date and a time.
fn moment(text: &str) -> Result<OffsetDateTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let date = || time::Date::parse(text, format_description!("[year]-[month]-[day]")).ok().map(|d| d.midnight());
    let short = || PrimitiveDateTime::parse(text, format_description!("[year]-[month]-[day]T[hour]:[minute]")).ok();
    time.or_else(|| date().or_else(short).map(PrimitiveDateTime::assume_utc)).ok_or_else(|| {
        usage(format!("option before: {text:?} is no time"))
            .hint("write 2026-11-22, 2026-11-22T03:00 or 2026-11-22T03:00:00Z; UTC where no offset is given")
    })
}

/// Numbers, each with its unit: `1d12h`.
fn units(text: &str) -> Option<Vec<(u64, char)>> {
    let mut found = Vec::new();
    let mut number = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
        } else {
            found.push((number.parse().ok()?, c));
            number.clear();
        }
    }
    (number.is_empty() && !found.is_empty()).then_some(found)
}

fn duration(name: &str, text: Option<&String>) -> Result<Option<Duration>> {
    let Some(text) = given(text) else { return Ok(None) };
    let seconds = |(n, unit): &(u64, char)| {
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            'w' => 7 * 86400,
            _ => return None,
        };
        n.checked_mul(unit)
    };
    let total = units(text).and_then(|units| units.iter().map(seconds).try_fold(0_u64, |sum, n| sum.checked_add(n?)));
    match total.filter(|&n| n > 0) {
        Some(seconds) => Ok(Some(Duration::from_secs(seconds))),
        None => Err(usage(format!("option {name}: {text:?} is no duration"))
            .hint("write numbers with s, m (minutes), h, d or w, such as 15m or 1d12h")),
    }
}

fn span(text: &str) -> Result<Span> {
    let mut span = Span::default();
    let wrong = || {
        usage(format!("option keep-within: {text:?} is no duration"))
            .hint("write numbers with y, m (months), d or h, such as 30d or 1y6m")
    };
    for (n, unit) in units(text).ok_or_else(wrong)? {
        let slot = match unit {
            'y' => &mut span.years,
            'm' => &mut span.months,
            'd' => &mut span.days,
            'h' => &mut span.hours,
            _ => return Err(wrong()),
        };
        *slot = u32::try_from(n).ok().filter(|&n| n <= 100_000).ok_or_else(wrong)?;
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::{self, Command},
        error::Kind,
    };

    fn run<T>(argv: &[&str], read: impl Fn(Command, Env<'_>) -> Result<T>) -> Result<T> {
        let argv = std::iter::once("savepoint").chain(argv.iter().copied()).map(std::convert::Into::into).collect();
        let env = |_: &str| None;
        read(cli::parse(argv, &env).expect("clap takes it"), &env)
    }

    fn restored(options: &[&str]) -> Result<RestoreConfig> {
        let argv: Vec<&str> = ["restore"].iter().chain(options).copied().collect();
        run(&argv, |command, env| match command {
            Command::Restore(args) => restore(&args, env).map(|v| v.config),
            other => panic!("{other:?}"),
        })
    }

    fn pruned(options: &[&str]) -> Result<PruneConfig> {
        let argv: Vec<&str> = ["prune", "--destination=s3://b/p"].iter().chain(options).copied().collect();
        run(&argv, |command, env| match command {
            Command::Prune(args) => prune(&args, env).map(|v| v.config),
            other => panic!("{other:?}"),
        })
    }

    const TO: &str = "--to=postgresql://u:s3cret@h/app";

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
    fn moments_and_durations() {
        let before = |text: &str| moment(text).map(|t| t.unix_timestamp());
        assert_eq!(before("2026-11-22").expect("a date"), before("2026-11-22T00:00:00Z").expect("RFC 3339"));
        assert_eq!(before("2026-11-22T03:00").expect("short"), before("2026-11-22T04:00:00+01:00").expect("RFC 3339"));
        let of = |text: &str| duration("max-age", Some(&text.to_owned())).expect(text).map(|d| d.as_secs());
        assert_eq!((of("15m"), of("1d12h"), of("2w"), of(" ")), (Some(900), Some(129_600), Some(1_209_600), None));
        assert_eq!(span("1y6m").expect("is a span"), Span { years: 1, months: 6, ..Span::default() });
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
