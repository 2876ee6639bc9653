//! What a restore will do, decided before anything is touched: the rails, and the steps in words.

pub use super::what::{What, some};
use super::{
    rights,
    target::{Content, Facts},
    what::refused,
};
use crate::{
    error::Result,
    postgres::{conninfo::Target, quote::quote},
    report::format::{bytes, counted, shell_word},
    restore::{Owners, Place, RestoreConfig},
    value::glob,
    vault::{Manifest, Proof, VerifyLevel},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// Into which database rows go, and what becomes of the ones that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A new database of this name, which stays.
    Create(String),
    /// Into the target as it is: empty, or (rows only) with empty tables.
    Into,
    /// Into a new database, which then takes the target's name; the target is kept under another one.
    Swap {
        /// Its name until then.
        new: String,
        /// The name under which the old one is kept.
        aside: String,
    },
    /// As a swap, but the old one is dropped at the end.
    Replace {
        /// Its name until then.
        new: String,
        /// The name of the old one between.
        aside: String,
    },
    /// The role may make no databases: the target's objects are dropped, then it is restored into.
    Wipe,
}

/// A plan that nothing stands against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How.
    pub way: Way,
    /// Take a safety backup first.
    pub safety: bool,
    /// Roles that are created.
    pub create_roles: Vec<String>,
    /// Give the database the backup's own properties.
    pub properties: bool,
    /// What will happen, one line per step.
    pub steps: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Whether a host or database name matches a pattern of `--protect`: the pattern matches the whole name, or one of the words that it
/// consists of (runs of letters and digits). `*` and `?` as in a shell; upper and lower case are the same.
pub fn protected(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.to_lowercase(), pattern.to_lowercase());
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty());
    !pattern.is_empty() && (glob(&name, &pattern) || words.into_iter().any(|word| glob(word, &pattern)))
}

/// A name of at most 63 bytes, PostgreSQL's limit: the end of `base` is given up, never that of `suffix`.
pub fn name_with(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(63 - suffix.len().min(63));
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

/// Refuses a backup that is not proven, unless that is asked for. The answer is a line for the plan.
pub fn gate(manifest: &Manifest, proof: Option<&Proof>, force: bool) -> Result<String> {
    let id = &manifest.id;
    let why = match proof {
        Some(proof) if !proof.passed => {
            let first = proof.differences.first().map(|d| format!(": {d}")).unwrap_or_default();
            format!("its last proof ({}) failed{first}", proof.finished_at)
        }
        Some(proof) if proof.level == VerifyLevel::Archive => {
            format!("it is not proven: at {} only its stored bytes were checked", proof.finished_at)
        }
        Some(proof) if !proof.level.reads_back() => {
            format!("it is not proven: at {} it was sent, and nothing was read back", proof.finished_at)
        }
        Some(proof) => {
            let level =
                if proof.level == VerifyLevel::Rows { "its rows were counted" } else { "every row was compared" };
            return Ok(format!("passed at {}: {level}", proof.finished_at));
        }
        None => "it was never proven".into(),
    };
    let cure = match proof {
        Some(proof) if !proof.passed => {
            format!("savepoint list --proof passed shows those that are proven; savepoint verify {id} proves it anew")
        }
        _ => format!("savepoint verify {id} proves it; savepoint list --proof passed shows others"),
    };
    match force {
        true => Ok(format!("{why}; restored all the same (--force-unproven)")),
        false => {
            Err(refused(format!("backup {id}: {why}"))
                .hint(format!("{cure}; --force-unproven restores it all the same")))
        }
    }
}

/// How old a moment is: `3 h 12 min`, `5 days`.
pub fn age(taken_at: &str, now: OffsetDateTime) -> Option<String> {
    let seconds = (now - OffsetDateTime::parse(taken_at, &Rfc3339).ok()?).whole_seconds().max(0);
    Some(match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} days", seconds / 86400),
    })
}

fn server(target: &Target) -> String {
    if target.is_socket() { target.host.clone() } else { format!("{}:{}", target.host, target.port) }
}

/// What stands in a database, in words.
pub fn describe(content: &Content) -> String {
    if content.is_empty() {
        return "an empty database".into();
    }
    let others = match content.others {
        0 => String::new(),
        n => format!(", {}", counted(n, "other object")),
    };
    format!(
        "{} with {}{others}, {}",
        counted(content.tables, "table"),
        content
            .rows_estimate
            .map_or_else(|| "rows that nobody counted".into(), |n| format!("about {}", counted(n, "row"))),
        bytes(content.bytes)
    )
}

/// Holds what was asked for against what stands there. Pure: nothing is read or touched.
///
/// # Errors
/// [`Kind::Refused`] with the cure, when a rail stands in the way.
pub fn decide(config: &RestoreConfig, what: &What, facts: &Facts, now: OffsetDateTime) -> Result<Plan> {
    let db = &config.target.dbname;
    confirmed(config)?;
    if let Some(major) = what.major.filter(|m| *m > facts.major) {
        let version = what.version.as_deref().unwrap_or_default();
        return Err(refused(format!(
            "the target runs PostgreSQL {}, the backup is of PostgreSQL {version}: an older server does not know all that it holds",
            facts.version
        ))
        .hint(format!("restore into a server of PostgreSQL {major} or later")));
    }
    let missing: Vec<&String> = what.extensions.iter().filter(|e| !facts.extensions.contains(*e)).collect();
    if !config.data_only && !missing.is_empty() {
        return Err(refused(format!("the target's server lacks extensions of the backup: {}", some(missing)))
            .hint("install their packages on the target's server, or restore into one that has them"));
    }
    let create_roles = rights::roles(config, what, facts)?;
    let stamp = now.format(format_description!("[year][month][day]t[hour][minute][second]")).unwrap_or_default();
    let way = way(config, what, facts, &stamp)?;
    let occupied = facts.content.as_ref().is_some_and(|c| !c.is_empty());
    let safety = config.place == Place::Clean && occupied && config.safety_backup;
    if safety && config.destination.is_none() {
        return Err(refused("--clean takes a safety backup of the target first, and no destination says where to")
            .hint("name one by --destination, or give --no-safety-backup"));
    }
    let mut warnings = Vec::new();
    if matches!(way, Way::Swap { .. } | Way::Replace { .. }) {
        match config.verify {
            VerifyLevel::Content | VerifyLevel::Rows => {}
            VerifyLevel::Archive | VerifyLevel::Sent | VerifyLevel::None => {
                return Err(refused(
                    "a database is replaced only by one that was compared, and option verify says not to",
                )
                .hint("use verify content or rows; or --create, look at it, and rename it yourself"));
            }
        }
        if let Some(n) = facts.content.as_ref().map(|c| c.prepared).filter(|n| *n > 0) {
            return Err(refused(format!(
                "database {db} has {}, so it cannot be renamed",
                counted(n, "prepared transaction")
            ))
            .hint("COMMIT PREPARED or ROLLBACK PREPARED what pg_prepared_xacts lists"));
        }
    }
    if way == Way::Wipe {
        warnings.push(format!(
            "role {} may make no databases, so --clean drops the objects of {db} before the restore: should that fail, {db} stays \
             empty, and the safety backup is the way back",
            facts.user
        ));
        if !config.safety_backup {
            return Err(refused(format!(
                "role {} may make no databases, so --clean must drop the objects of {db} first: not without a safety backup",
                facts.user
            ))
            .hint(format!("leave out --no-safety-backup, or ALTER ROLE {} CREATEDB", quote(&facts.user))));
        }
    }
    if !what.has_manifest {
        warnings.push("no manifest says what it must hold: rows are only counted against the file's".into());
    }
    let properties = properties(config, what, facts, &way);
    let mut steps = steps(config, what, &way, safety, &create_roles);
    if properties {
        let who = if config.owners == Owners::Skip { "" } else { "owner, grants, " };
        let at = steps.len() - usize::from(matches!(way, Way::Swap { .. } | Way::Replace { .. }));
        steps.insert(at, format!("give the database the {who}settings, limit and comment that the source had"));
    }
    Ok(Plan { way, safety, create_roles, properties, steps, warnings })
}

/// Whether the database gets the backup's settings, grants and comment: a new one and one that was empty, others when asked for.
fn properties(config: &RestoreConfig, what: &What, facts: &Facts, way: &Way) -> bool {
    let is_new = match way {
        Way::Create(_) => true,
        Way::Swap { .. } => facts.content.as_ref().is_none_or(Content::is_empty),
        Way::Into | Way::Wipe | Way::Replace { .. } => false,
    };
    what.has_properties && what.whole && (is_new || config.database_properties)
}

/// Whether the name was typed where it must be.
fn confirmed(config: &RestoreConfig) -> Result<()> {
    let db = &config.target.dbname;
    let typed = format!("--confirm {}", shell_word(db));
    match &config.confirm {
        Some(name) if name == db => return Ok(()),
        Some(name) => {
            return Err(refused(format!("option confirm says {name:?}, the target database is {db:?}"))
                .hint(format!("check which database is meant; {typed} if it is this one")));
        }
        // Nothing is touched; what is refused then is told by the run that would touch it.
        None if config.dry_run => return Ok(()),
        None => {}
    }
    if config.place == Place::Clean {
        return Err(refused(format!("--clean removes everything in database {db} on {}", server(&config.target)))
            .hint(format!("add {typed} if that is what you want; --swap keeps the old database under another name")));
    }
    for (what, name) in [("database name", db), ("host", &config.target.host)] {
        if let Some(pattern) = config.protect.iter().find(|p| protected(name, p)) {
            return Err(refused(format!("the target's {what} {name} is protected (--protect {pattern})"))
                .hint(format!("add {typed} if that is the one you mean")));
        }
    }
    Ok(())
}

/// Names of databases on the target's server: which are free, and what a new one may be called.
struct Names<'a> {
    facts: &'a Facts,
    /// The target database's.
    db: &'a str,
    stamp: &'a str,
}

impl Names<'_> {
    /// Refuses a name that is taken.
    fn free(&self, name: &String) -> Result<()> {
        if !self.facts.databases.contains(name) {
            return Ok(());
        }
        Err(match self.facts.unfinished.contains(name) {
            true => refused(format!("database {name} is what a restore that was broken off left behind"))
                .hint(format!("DROP DATABASE {}; then try again", quote(name))),
            false => refused(format!("database {name} exists")).hint("choose another name for --create"),
        })
    }

    fn made_up(&self, what: &str) -> String {
        let mut name = name_with(self.db, &format!("_{what}_{}", self.stamp));
        // Another restore may have begun in the same second.
        let mut n = 1;
        while self.facts.databases.contains(&name) {
            n += 1;
            name = name_with(self.db, &format!("_{what}_{}_{n}", self.stamp));
        }
        name
    }

    /// Of the new database (as named, else made up), and of the one that is renamed aside.
    fn new_and_aside(&self, named: &Option<String>) -> Result<(String, String)> {
        if let Some(name) = named {
            self.free(name)?;
        }
        let new = named.clone().unwrap_or_else(|| self.made_up("restored"));
        Ok((new, self.made_up("before")))
    }

    /// A new database of this name.
    fn create(&self, name: &String) -> Result<Way> {
        self.free(name)?;
        self.may_create()?;
        Ok(Way::Create(name.clone()))
    }

    fn may_create(&self) -> Result<()> {
        match self.facts.creates_databases {
            true => Ok(()),
            false => Err(refused(format!("role {} may not create databases", self.facts.user)).hint(format!(
                "ALTER ROLE {} CREATEDB; or let somebody create an empty one and restore into it",
                quote(&self.facts.user)
            ))),
        }
    }
}

/// How the backup comes into the target.
fn way(config: &RestoreConfig, what: &What, facts: &Facts, stamp: &str) -> Result<Way> {
    let names = Names { facts, db: &config.target.dbname, stamp };
    match (&config.place, &facts.content) {
        (Place::New(name), _) => names.create(name),
        (_, None) => way_to_missing(config, &names),
        (_, Some(content)) => way_to_present(config, what, &names, content),
    }
}

/// The target database is not there.
fn way_to_missing(config: &RestoreConfig, names: &Names<'_>) -> Result<Way> {
    let db = names.db;
    match &config.place {
        Place::Swap(_) => Err(refused(format!("--swap: there is no database {db} to take the place of"))
            .hint("leave out --swap: a missing database is created")),
        _ if config.data_only => Err(refused(format!("--data-only: there is no database {db}"))
            .hint("leave out --data-only: a missing database is created, with its tables")),
        Place::New(name) => names.create(name),
        Place::Empty | Place::Clean => {
            names.may_create()?;
            Ok(Way::Create(db.to_owned()))
        }
    }
}

/// The target database is there, with this content.
fn way_to_present(config: &RestoreConfig, what: &What, names: &Names<'_>, content: &Content) -> Result<Way> {
    let db = names.db;
    match &config.place {
        Place::New(name) => names.create(name),
        Place::Swap(named) => {
            names.may_create()?;
            let (new, aside) = names.new_and_aside(named)?;
            Ok(Way::Swap { new, aside })
        }
        Place::Clean if !what.whole => {
            Err(refused("--clean: a part of a backup must not take the place of a whole database")
                .hint("restore the part by --create into a database of its own, and copy over what you need"))
        }
        Place::Clean if content.is_empty() => Ok(Way::Into),
        Place::Clean if !names.facts.creates_databases => Ok(Way::Wipe),
        Place::Clean => {
            let (new, aside) = names.new_and_aside(&None)?;
            Ok(Way::Replace { new, aside })
        }
        Place::Empty if config.data_only || content.is_empty() => Ok(Way::Into),
        Place::Empty => {
            let holds = describe(content);
            Err(refused(format!("database {db} on {} is not empty: {holds}", server(&config.target))).hint(format!(
                "--create NAME restores into a new database beside it; --swap then puts that into its place and keeps the old one; \
                 --clean --confirm {} removes what is there",
                shell_word(db)
            )))
        }
    }
}

fn steps(config: &RestoreConfig, what: &What, way: &Way, safety: bool, create_roles: &[String]) -> Vec<String> {
    let db = &config.target.dbname;
    let mut steps = Vec::new();
    let check = if what.has_manifest {
        "every stored file, by its size and SHA-256 in the manifest"
    } else {
        "the file to its end"
    };
    steps.push(format!("check {check}"));
    if safety {
        steps.push(format!("take a backup of {db} (kind pre-restore) and prove it; without that nothing is touched"));
    }
    if !create_roles.is_empty() {
        steps.push(format!("create roles without login: {}", some(create_roles)));
    }
    match way {
        Way::Create(name) => steps.push(format!("create database {name}, with the source's encoding and locale")),
        Way::Swap { new, .. } | Way::Replace { new, .. } => {
            steps.push(format!("create database {new} beside {db}, with the source's encoding and locale"));
        }
        Way::Wipe => steps.push(format!("drop everything in {db}, in one transaction")),
        Way::Into => {}
    }
    let into = match way {
        Way::Create(name) => name,
        Way::Swap { new, .. } | Way::Replace { new, .. } => new,
        Way::Into | Way::Wipe => db,
    };
    let part = match (config.data_only, config.part.schema_only) {
        (true, _) => "rows only, into tables that are empty,",
        (_, true) => "schema only",
        _ if what.whole => "schema, rows, indexes and constraints",
        _ => "the part that was asked for",
    };
    let owners = match config.owners {
        _ if config.data_only => "",
        Owners::Skip => "; everything belongs to the target's user, grants are skipped",
        Owners::Keep | Owners::Create => "",
    };
    let jobs = counted(config.engine.jobs as u64, "connection");
    steps.push(format!("restore {part} into {into} over {jobs}{owners}; no tablespaces, no subscriptions"));
    if what.has_manifest {
        match config.verify {
            VerifyLevel::Content => steps.push("compare every row, sequence, large object and definition".into()),
            VerifyLevel::Rows => {
                steps.push("count the rows, and compare sequences, large objects and definitions".into())
            }
            VerifyLevel::Archive | VerifyLevel::Sent | VerifyLevel::None => steps.push("compare nothing".into()),
        }
    }
    if !config.part.schema_only {
        steps.push("ANALYZE, since a restored database has no statistics".into());
    }
    match way {
        Way::Swap { new, aside } => steps.push(format!(
            "if all is equal: end the sessions of {db}, rename it to {aside} and {new} to {db}, both or none; owner, grants and \
             settings of the database are kept"
        )),
        Way::Replace { new, .. } => steps.push(format!(
            "if all is equal: end the sessions of {db}, put {new} into its place (both renames or none) and drop the old one; owner, \
             grants and settings of the database are kept"
        )),
        _ => {}
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::Engine,
        vault::{Filter, Pick, RunContext, Which},
    };
    use std::collections::{BTreeMap, BTreeSet};
    use std::fmt::Write as _;

    fn config(place: Place) -> RestoreConfig {
        let no_env = |_: &str| None;
        let (target, _) = crate::postgres::conninfo::parse("postgresql://me@db.example.com/app", &no_env).unwrap();
        RestoreConfig {
            pick: Pick { which: Which::Latest, before: None, kind: None, database: None },
            destination: Some(crate::store::Destination::folder("backups")),
            target,
            place,
            confirm: None,
            safety_backup: true,
            protect: vec!["prod".into(), "production".into()],
            part: Filter::default(),
            data_only: false,
            owners: Owners::Keep,
            verify: VerifyLevel::Content,
            database_properties: false,
            identity: None,
            signer: None,
            verify_key: None,
            force_unproven: false,
            trust_file: false,
            dry_run: false,
            engine: Engine { pg_bin_dirs: vec![], ..Engine::default() },
            context: RunContext::default(),
        }
    }

    fn what() -> What {
        What {
            label: "20261122T030000Z-snapshot-1a2b3c4".into(),
            taken_at: Some("2026-11-22T03:00:00Z".into()),
            tables: Some(2),
            rows: Some(10),
            database: Some("app".into()),
            version: Some("17.5".into()),
            major: Some(17),
            roles: vec!["app_owner".into(), "me".into()],
            owners: BTreeSet::from(["app_owner".into()]),
            extensions: vec!["citext".into()],
            has_manifest: true,
            has_properties: true,
            whole: true,
            ..What::default()
        }
    }

    fn facts() -> Facts {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
        Facts {
            refused_extensions: BTreeMap::new(),
            strangers_in_public: BTreeSet::new(),
            version: "17.6".into(),
            major: 17,
            user: "me".into(),
            superuser: false,
            creates_databases: true,
            creates_roles: false,
            databases: set(&["postgres", "app", "other"]),
            roles: set(&["me", "app_owner"]),
            member_of: set(&["me", "app_owner"]),
            extensions: set(&["citext"]),
            unfinished: vec![],
            content: Some(Content {
                tables: 12,
                rows_estimate: Some(3400),
                bytes: 120 << 20,
                others: 3,
                encoding: "UTF8".into(),
                prepared: 0,
            }),
        }
    }

    fn at() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_795_316_400).unwrap()
    }

    type Change = fn(&mut RestoreConfig, &mut What, &mut Facts);

    #[test]
    fn rails_say_what_and_why_and_the_cure() {
        let cases: [(&str, Place, Change); 23] = [
            ("occupied", Place::Empty, |_, _, _| {}),
            ("clean without the name", Place::Clean, |_, _, _| {}),
            ("clean with another name", Place::Clean, |c, _, _| c.confirm = Some("ap".into())),
            ("clean of a file", Place::Clean, |c, _, _| (c.confirm, c.destination) = (Some("app".into()), None)),
            ("clean by a part", Place::Clean, |c, w, _| (c.confirm, w.whole) = (Some("app".into()), false)),
            ("wipe without a safety backup", Place::Clean, |c, _, f| {
                (c.confirm, c.safety_backup, f.creates_databases) = (Some("app".into()), false, false);
            }),
            ("protected name", Place::New("x".into()), |c, _, f| {
                c.target.dbname = "shop_prod".into();
                f.content = None;
            }),
            ("protected host", Place::New("x".into()), |c, _, _| c.target.host = "db.Production.example.com".into()),
            ("create what exists", Place::New("other".into()), |_, _, _| {}),
            ("create what was left", Place::New("other".into()), |_, _, f| f.unfinished = vec!["other".into()]),
            ("create without the right", Place::New("x".into()), |_, _, f| f.creates_databases = false),
            ("swap with nothing", Place::Swap(None), |_, _, f| f.content = None),
            ("swap unseen", Place::Swap(None), |c, _, _| c.verify = VerifyLevel::None),
            ("swap with prepared transactions", Place::Swap(None), |_, _, f| {
                f.content.as_mut().unwrap().prepared = 1;
            }),
            ("older server", Place::New("x".into()), |_, w, _| (w.version, w.major) = (Some("18.1".into()), Some(18))),
            ("extension", Place::New("x".into()), |_, w, _| w.extensions.push("postgis".into())),
            ("extension out of reach", Place::New("x".into()), |_, _, f| {
                f.refused_extensions.insert("file_fdw".into(), "permission denied to create extension".into());
            }),
            ("several out of reach", Place::Empty, |c, w, f| {
                (c.owners, f.content) = (Owners::Create, None);
                w.roles.push("reporting".into());
                f.member_of.retain(|r| r == "me");
                for name in ["dblink", "file_fdw"] {
                    f.refused_extensions.insert(name.into(), "permission denied".into());
                }
            }),
            ("role", Place::New("x".into()), |_, w, _| w.roles.push("reporting".into())),
            ("role that may not be created", Place::New("x".into()), |c, w, _| {
                c.owners = Owners::Create;
                w.roles.push("reporting".into());
            }),
            ("role out of reach", Place::New("x".into()), |_, _, f| f.member_of.retain(|r| r == "me")),
            ("data only without a database", Place::Empty, |c, _, f| (c.data_only, f.content) = (true, None)),
            ("missing database without the right", Place::Empty, |_, _, f| {
                (f.content, f.creates_databases) = (None, false);
            }),
        ];
        let mut shown = String::new();
        for (name, place, change) in cases {
            let (mut config, mut what, mut facts) = (config(place), what(), facts());
            change(&mut config, &mut what, &mut facts);
            let error = decide(&config, &what, &facts, at()).expect_err(name);
            let _ = write!(shown, "{name}\n  {error}\n  hint: {}\n", error.hint_text().unwrap_or("-"));
        }
        insta::assert_snapshot!("rails", shown);
    }

    #[test]
    fn plans_say_each_step() {
        let cases: [(&str, Place, Change); 8] = [
            ("new", Place::New("copy".into()), |_, _, _| {}),
            ("missing", Place::Empty, |_, _, f| f.content = None),
            ("empty", Place::Empty, |_, _, f| f.content = Some(Content::default())),
            ("swap", Place::Swap(None), |c, w, _| {
                c.owners = Owners::Skip;
                w.roles.push("reporting".into());
            }),
            ("clean", Place::Clean, |c, _, _| c.confirm = Some("app".into())),
            ("clean where no database can be made", Place::Clean, |c, _, f| {
                (c.confirm, f.creates_databases) = (Some("app".into()), false);
            }),
            ("rows only", Place::Empty, |c, _, _| c.data_only = true),
            ("roles", Place::New("copy".into()), |c, w, f| {
                (c.owners, f.creates_roles) = (Owners::Create, true);
                w.roles.push("reporting".into());
            }),
        ];
        let mut shown = String::new();
        for (name, place, change) in cases {
            let (mut config, mut what, mut facts) = (config(place), what(), facts());
            change(&mut config, &mut what, &mut facts);
            let plan = decide(&config, &what, &facts, at()).expect(name);
            let _ = writeln!(shown, "{name}: {:?}, safety backup: {}", plan.way, plan.safety);
            for line in &plan.steps {
                let _ = writeln!(shown, "  {line}");
            }
            for line in &plan.warnings {
                let _ = writeln!(shown, "  warning: {line}");
            }
        }
        insta::assert_snapshot!("plans", shown);
    }

    #[test]
    fn protection_looks_at_words() {
        for (name, pattern, expected) in [
            ("prod", "prod", true),
            ("app-PROD-1.example.com", "prod", true),
            ("shop_prod", "prod", true),
            ("products", "prod", false),
            ("reproduction", "production", false),
            ("products", "prod*", true),
            ("db7", "db?", true),
            ("live-db.example.com", "*.example.com", true),
            ("live-db.example.org", "*.example.com", false),
            ("anything", "", false),
        ] {
            assert_eq!(protected(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn a_made_up_name_is_a_free_one() {
        let mut facts = facts();
        facts.databases.insert("app_restored_20261122t030000".into());
        let plan = decide(&config(Place::Swap(None)), &what(), &facts, at()).unwrap();
        let (new, aside) = ("app_restored_20261122t030000_2".into(), "app_before_20261122t030000".into());
        assert_eq!(plan.way, Way::Swap { new, aside });
    }

    #[test]
    fn a_made_up_name_fits_into_63_bytes() {
        assert_eq!(name_with("app", "_before_x"), "app_before_x");
        let long = name_with(&"ä".repeat(40), "_before_20261122t030000");
        assert!(long.len() <= 63 && long.ends_with("_before_20261122t030000"), "{long}");
    }

    #[test]
    fn ages_have_two_units() {
        let now = at();
        let age = |s: i64| age(&(now - time::Duration::seconds(s)).format(&Rfc3339).unwrap(), now).unwrap();
        assert_eq!([age(5), age(125), age(11_520), age(5 * 86400)], ["5 s", "2 min", "3 h 12 min", "5 days"]);
    }
}
