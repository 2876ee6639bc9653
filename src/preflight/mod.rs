//! Questions that are asked before anything is written. Each has a line for people and a cure.

use crate::{
    archive::compression::{Compression, CompressionChoice},
    backup::BackupConfig,
    dump::{catalog, snapshot},
    error::{Error, Kind, Result},
    postgres::{
        answer,
        connect::{self, Session},
        conninfo::Target,
        pooler::{self, Direct},
        tools::{self, Tools},
    },
    progress::{Event, Progress},
    report::{Check, Status},
    scratch::{self, Scratch},
    store::{self, Destination, Store},
    vault::manifest::{Extension, Source},
    verify::server::Server,
};
use futures_util::future::join;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::task::AbortOnDropHandle;

/// Majors that the engine serves.
const MAJORS: std::ops::RangeInclusive<u32> = 13..=19;

/// The first minor of each major whose standbys export snapshots that show the right rows.
const FIXED_STANDBY: [(u32, u32); 5] = [(18, 7), (17, 12), (16, 16), (15, 20), (14, 25)];

/// Extensions that PostgreSQL refuses to create unless their library is loaded at the server's start.
const PRELOADED: [(&str, &str); 7] = [
    ("timescaledb", "timescaledb"),
    ("pgaudit", "pgaudit"),
    ("pg_stat_kcache", "pg_stat_kcache"),
    ("pg_cron", "pg_cron"),
    ("citus", "citus"),
    ("pg_squeeze", "pg_squeeze"),
    ("pglogical", "pglogical"),
];

/// Connections that we need besides the reading ones: the snapshot's holder and pg_dump.
const OTHER_CONNECTIONS: i64 = 2;

/// What the questions brought to light; everything that a backup goes on with.
pub struct Ready {
    /// The source, pinned to one address.
    pub target: Target,
    /// A session there, with the settings under which rows are read.
    pub session: Session,
    /// Facts about it.
    pub source: Source,
    /// Its extensions.
    pub extensions: Vec<Extension>,
    /// Programs of its major.
    pub tools: Tools,
    /// The destination; `None` after a mere look.
    pub store: Option<Arc<dyn Store>>,
    /// The server for the proof, when one is needed.
    pub server: Option<Starting>,
    /// This run's folder.
    pub scratch: Scratch,
    /// Connections that the server has room for.
    pub jobs: usize,
}

/// A server for the proof on its way up: initdb takes longer than all questions together, and the dump need not wait for it.
pub struct Starting(AbortOnDropHandle<Result<Started>>);

/// The server, and what it lacks: extensions, each with the reason.
type Started = (Server, Vec<(String, String)>);

impl Starting {
    async fn finish(&mut self) -> Result<Started> {
        (&mut self.0)
            .await
            .map_err(|e| Error::new(Kind::Throwaway, "starting the throwaway server stopped").because(e))?
    }

    /// The server, when it has all that the source needs; the same error as of a question that was answered with no.
    pub async fn up(&mut self) -> Result<Server> {
        let (server, missing) = self.finish().await.map_err(|e| e.context("throwaway"))?;
        let checks: Vec<Check> = missing.iter().map(|(name, why)| lacks(name, why)).collect();
        if checks.is_empty() {
            return Ok(server);
        }
        server.stop().await;
        Err(refusal(&checks))
    }

    /// Ends it, whether it is up or not. Returns what could not be removed.
    pub async fn stop(mut self) -> Vec<String> {
        self.0.abort();
        match self.finish().await {
            Ok((server, _)) => server.stop().await,
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for Starting {
    /// Its folder is removed next, by whoever drops it too: nothing may write there any more.
    fn drop(&mut self) {
        self.0.abort();
        let deadline = Instant::now() + Duration::from_secs(2);
        while !self.0.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn lacks(name: &str, why: &str) -> Check {
    Check {
        name: "extensions".into(),
        status: Status::Failed,
        detail: format!("the throwaway server lacks extension {name}: {why}"),
        hint: Some("point verify-url at a server that has it, such as a service container of the image that you use in production; or verify: archive".into()),
    }
}

/// The answers, and what a backup goes on with when none of them is a no.
pub struct Examined {
    /// One line each.
    pub checks: Vec<Check>,
    /// `None` when a question was answered with no.
    pub ready: Option<Ready>,
}

struct Asked<'a> {
    checks: Vec<Check>,
    reach: Reach,
    /// The host's name and what is shown in its place, with `--redact-host`.
    redact: Option<(String, String)>,
    progress: &'a dyn Progress,
}

impl Asked<'_> {
    fn answer(&mut self, name: &str, status: Status, detail: impl Into<String>, hint: Option<String>) {
        let shown = |text: String| match &self.redact {
            Some((host, label)) => text.replace(host, label),
            None => text,
        };
        let check = Check { name: name.into(), status, detail: shown(detail.into()), hint: hint.map(shown) };
        self.progress.event(Event::Detail(&format!("{name}: {}", check.detail)));
        self.checks.push(check);
    }

    fn ok(&mut self, name: &str, detail: impl Into<String>) {
        self.answer(name, Status::Ok, detail, None);
    }

    /// Notes a no and hands on `None`, or hands on the value.
    fn take<T>(&mut self, name: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                self.answer(name, Status::Failed, e.one_line(), e.hint_text().map(str::to_owned));
                None
            }
        }
    }

    fn failed(&self) -> bool {
        self.checks.iter().any(|c| c.status == Status::Failed)
    }
}

/// How far the questions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything: the destination is written to and cleaned again, the throwaway server is started.
    Full,
    /// Nothing is written or started.
    Look,
}

/// Asks everything. Never fails: a question that cannot be answered is a no with its reason.
pub async fn examine(config: &BackupConfig, reach: Reach, progress: &dyn Progress) -> Examined {
    let mut asked = Asked { checks: Vec::new(), reach, redact: redacted(config), progress };
    let ready = ask(config, &mut asked).await;
    let ready = if asked.failed() { None } else { ready };
    Examined { checks: asked.checks, ready }
}

fn redacted(config: &BackupConfig) -> Option<(String, String)> {
    config.redact_host.then(|| (config.source.host.clone(), config.source.host_label(true)))
}

/// For `savepoint check`: asks everything and cleans up.
pub async fn run(config: &BackupConfig, progress: Arc<dyn Progress>) -> Vec<Check> {
    let mut examined = examine(config, Reach::Full, &*progress).await;
    if let Some(mut ready) = examined.ready.take() {
        let mut asked =
            Asked { checks: examined.checks, reach: Reach::Full, redact: redacted(config), progress: &*progress };
        if let Some(starting) = &mut ready.server
            && let Some((server, missing)) = asked.take("throwaway", starting.finish().await)
        {
            let described = server.describe();
            asked.ok("throwaway", format!("PostgreSQL {} ({}) is up", described.version, described.kind));
            for (name, why) in missing {
                let Check { name, status, detail, hint } = lacks(&name, &why);
                asked.answer(&name, status, detail, hint);
            }
            for line in server.stop().await {
                progress.event(Event::Warning(&line));
            }
        }
        examined.checks = asked.checks;
        if let Err(e) = ready.scratch.remove() {
            progress.event(Event::Warning(&e.one_line()));
        }
    }
    examined.checks
}

/// The first no as an error; says how many more there are.
pub fn refusal(checks: &[Check]) -> Error {
    let mut failed = checks.iter().filter(|c| c.status == Status::Failed);
    let Some(first) = failed.next() else { return Error::new(Kind::Refused, "the preflight did not finish") };
    let more = failed.count();
    let more = if more == 0 { String::new() } else { format!(" (and {more} more: run savepoint check)") };
    let error = Error::new(Kind::Refused, format!("{}: {}{more}", first.name, first.detail));
    match &first.hint {
        Some(hint) => error.hint(hint.clone()),
        None => error,
    }
}

async fn ask(config: &BackupConfig, asked: &mut Asked<'_>) -> Option<Ready> {
    // A pooler is told by its address before we try to reach it: it may hang on what we ask.
    if let Some(direct) = config.source.pooler() {
        asked.answer(
            "pooler",
            Status::Failed,
            format!(
                "{} is a transaction pooler: it mixes sessions, so one snapshot cannot be shared",
                config.source.redacted()
            ),
            Some(direct),
        );
    }
    // Far away each answer takes its time, so both sides are asked at once.
    let (store, rest) = tokio::join!(ask_destination(config, asked.reach), async {
        if config.source.pooler().is_some() { None } else { ask_source(config, asked).await }
    });
    let store = match store {
        Ok((detail, warnings, store)) => {
            let status = if store.is_some() { Status::Ok } else { Status::Skipped };
            asked.answer("destination", status, detail, None);
            for warning in warnings {
                asked.answer("destination", Status::Warning, warning, None);
            }
            store
        }
        Err(e) => asked.take("destination", Err(e)),
    };
    let mut ready = rest?;
    ready.store = store;
    if asked.failed() {
        if let Some(server) = ready.server {
            server.stop().await;
        }
        return None;
    }
    Some(ready)
}

/// What there is to say of the destination, warnings, and the destination, where it may be written to.
async fn ask_destination(config: &BackupConfig, reach: Reach) -> Result<(String, Vec<String>, Option<Arc<dyn Store>>)> {
    match reach {
        Reach::Full => {
            let (store, warnings) = destination(config).await?;
            Ok((format!("{} can be written, read and listed", store.uri("")), warnings, Some(store)))
        }
        Reach::Look => {
            let detail = look_at(&config.destination).await?;
            Ok((format!("{detail}; not written to in a dry run"), Vec::new(), None))
        }
    }
}

/// Asks everything but the destination.
async fn ask_source(config: &BackupConfig, asked: &mut Asked<'_>) -> Option<Ready> {
    let target = asked.take("connection", config.source.clone().pin().await)?;
    let Some(Direct { session, passing }) = asked.take("connection", pooler::direct(&target, "savepoint").await)?
    else {
        return asked.take("pooler", Err(pooler::refusal()));
    };
    // Not before it is known that the session is ours alone: a pooler hands the settings on to whoever comes next.
    let (settings, source, extensions, large) = tokio::join!(
        snapshot::prepare(&session, 0, ""),
        catalog::source(&session),
        catalog::extensions(&session),
        large_object_bytes(&session)
    );
    asked.take("connection", settings)?;
    let mut source = asked.take("connection", source)?;
    source.host = config.source.host_label(config.redact_host);
    source.port = config.source.port;
    if !MAJORS.contains(&source.major) {
        asked.answer(
            "version",
            Status::Failed,
            format!("PostgreSQL {} is not served", source.server_version),
            Some(format!("savepoint serves majors {} to {}", MAJORS.start(), MAJORS.end())),
        );
        return None;
    }
    asked.ok("connection", format!("PostgreSQL {}, database {}", source.server_version, source.database));
    if source.major < 16 && matches!(config.compression, CompressionChoice::Named(Compression::Zstd(_))) {
        asked.answer(
            "compression",
            Status::Failed,
            format!("plain pg_restore of PostgreSQL {} cannot read zstd", source.major),
            Some("compression: auto or gzip (zstd is read from PostgreSQL 16 on)".into()),
        );
    }
    asked.ok("pooler", "a direct connection");
    standby(&source, asked);
    // From here on with the settings of its version.
    asked.take("connection", snapshot::prepare(&session, source.major, &source.encoding).await)?;
    let built_in = config.verify.restores() && config.verify_url.is_none();
    let tools = asked.take("tools", tools::find(source.major, &config.pg_bin_dirs, built_in).await)?;
    asked.ok("tools", format!("pg_dump {} in {}", tools.version, tools.dir.display()));
    let extensions = asked.take("extensions", extensions)?;
    for line in Scratch::sweep(config.scratch_dir.as_deref()) {
        asked.progress.event(Event::Notice(&line));
    }
    let scratch = asked.take("scratch", Scratch::create(config.scratch_dir.as_deref()))?;
    let large = asked.take("disk", large)?;
    if let Some(line) = asked.take("disk", disk(&scratch, if built_in { source.database_bytes } else { 0 }, large)) {
        asked.ok("disk", line);
    }
    let starts = asked.reach == Reach::Full && config.verify.restores() && !asked.failed();
    let server = starts.then(|| {
        let folder = scratch.path().join("throwaway");
        let (url, jobs) = (config.verify_url.clone(), config.jobs);
        let (tools, source, extensions) = (tools.clone(), source.clone(), extensions.clone());
        Starting(AbortOnDropHandle::new(tokio::spawn(async move {
            let server = match &url {
                Some(url) => Server::at(url, &source).await?,
                None => Server::built_in(&tools, &folder, &source, &extensions, jobs).await?,
            };
            let missing = missing_extensions(&server, &extensions).await?;
            Ok((server, missing))
        })))
    });
    let jobs = last_questions(&session, passing, &source, config, asked).await;
    if asked.reach == Reach::Look {
        asked.answer("throwaway", Status::Skipped, "not started in a dry run", None);
    }
    asked.ok("extensions", if extensions.is_empty() { "none".into() } else { names(&extensions) });
    let Some(jobs) = jobs else {
        if let Some(server) = server {
            server.stop().await;
        }
        return None;
    };
    Some(Ready { target, session, source, extensions, tools, store: None, server, scratch, jobs })
}

/// Privileges and room; the connections that there is room for. `passing`: a process that is about to end.
async fn last_questions(
    session: &Session,
    passing: i32,
    source: &Source,
    config: &BackupConfig,
    asked: &mut Asked<'_>,
) -> Option<usize> {
    let (tables, jobs) = tokio::join!(
        snapshot::with_role_path(session, async {
            Ok(join(catalog::relations(session, &config.filter), unreadable_objects(session, config)).await)
        }),
        free_connections(session, passing, config.jobs)
    );
    let (relations, objects) = asked.take("privileges", tables)?;
    let (relations, objects) = (asked.take("privileges", relations)?, asked.take("privileges", objects)?);
    privileges(source, &relations, objects, asked);
    let jobs = asked.take("connections", jobs)?;
    let free = if jobs < config.jobs {
        format!("room for {jobs} of {} jobs", config.jobs)
    } else {
        format!("room for {jobs} jobs")
    };
    asked.answer("connections", if jobs < config.jobs { Status::Warning } else { Status::Ok }, free, None);
    Some(jobs)
}

fn names(extensions: &[Extension]) -> String {
    extensions.iter().map(|e| format!("{} {}", e.name, e.version)).collect::<Vec<_>>().join(", ")
}

/// Whether the destination answers, without writing to it.
async fn look_at(destination: &Destination) -> Result<String> {
    if destination.there().is_err() {
        return Ok(format!("{} will be created", destination.label()));
    }
    let store = store::open(destination).await?;
    store.list("savepoint-probe-").await?;
    Ok(format!("{} can be listed", store.uri("")))
}

async fn destination(config: &BackupConfig) -> Result<(Arc<dyn Store>, Vec<String>)> {
    let store = store::open(&config.destination).await?;
    let warnings = store::probe(&*store, "").await?;
    enough_space(&config.destination)?;
    Ok((store, warnings))
}

/// A local destination on a full disk is told now, not after an hour.
fn enough_space(destination: &Destination) -> Result<()> {
    if destination.free_space()?.is_some_and(|free| free < 64 << 20) {
        return Err(Error::new(Kind::Refused, format!("{} has less than 64 MiB of free space", destination.label()))
            .hint("free some space, or name another destination"));
    }
    Ok(())
}

fn standby(source: &Source, asked: &mut Asked<'_>) {
    if !source.standby {
        return;
    }
    let minor: u32 = source.server_version.split(['.', ' ']).nth(1).and_then(|m| m.parse().ok()).unwrap_or(0);
    let fixed = FIXED_STANDBY.iter().find(|(major, _)| *major == source.major).map(|(_, minor)| *minor);
    let good = source.major > 18 || fixed.is_some_and(|fixed| minor >= fixed);
    if good {
        asked.ok("standby", "a standby; unlogged tables have no rows there");
        return;
    }
    let upgrade = match fixed {
        Some(minor) => format!(", or upgrade to {}.{minor}", source.major),
        None => String::new(),
    };
    asked.answer(
        "standby",
        Status::Failed,
        format!("PostgreSQL {} exports snapshots with wrong rows on a standby", source.server_version),
        Some(format!("connect to the primary{upgrade}")),
    );
}

/// Joins a few names and says how many more there are.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown} and {} more", names.len() - 5) } else { shown }
}

fn privileges(
    source: &Source,
    relations: &[catalog::Relation],
    (sequences, large): (Vec<String>, i64),
    asked: &mut Asked<'_>,
) {
    let user = crate::postgres::quote::quote(&source.user);
    let taken = || relations.iter().filter(|r| r.taken && !r.extension_member);
    let unreadable: Vec<&catalog::Relation> = taken().filter(|r| !r.readable).collect();
    let mut fine = true;
    if !unreadable.is_empty() {
        fine = false;
        let names: Vec<String> = unreadable.iter().map(|r| r.label()).collect();
        let schema = crate::postgres::quote::quote(&unreadable[0].schema);
        asked.answer(
            "privileges",
            Status::Failed,
            format!("role {} may not read {}", source.user, some(&names)),
            Some(format!(
                "GRANT USAGE ON SCHEMA {schema} TO {user}; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}; or GRANT \
                 pg_read_all_data TO {user} (14+); or leave them out by exclude-tables"
            )),
        );
    }
    let filtered: Vec<String> = taken().filter(|r| r.plain && r.rows_taken && r.filtered).map(|r| r.label()).collect();
    if !filtered.is_empty() {
        fine = false;
        asked.answer(
            "row-level security",
            Status::Failed,
            format!("row-level security would hide rows of {} from role {}", some(&filtered), source.user),
            Some(format!("ALTER ROLE {user} BYPASSRLS (a superuser may), or take the backup as the tables' owner")),
        );
    }
    if !sequences.is_empty() {
        fine = false;
        asked.answer(
            "privileges",
            Status::Failed,
            format!("role {} may not read sequence {}", source.user, some(&sequences)),
            Some(format!(
                "GRANT SELECT ON ALL SEQUENCES IN SCHEMA … TO {user}; or GRANT pg_read_all_data TO {user} (14+)"
            )),
        );
    }
    if large > 0 {
        fine = false;
        asked.answer(
            "privileges",
            Status::Failed,
            format!("role {} may not read {large} large object{}", source.user, if large == 1 { "" } else { "s" }),
            Some(format!("GRANT SELECT ON LARGE OBJECT … TO {user} for each, or take the backup as their owner (pg_read_all_data does not cover them before 19)")),
        );
    }
    if fine {
        let tables = taken().filter(|r| r.plain).count();
        asked.ok("privileges", format!("role {} may read all {tables} tables", source.user));
    }
}

async fn unreadable_objects(session: &Session, config: &BackupConfig) -> Result<(Vec<String>, i64)> {
    let failed = |e| answer::error("cannot read the privileges", e);
    let (taken, _) = crate::dump::pattern::conditions(&config.filter)?;
    let sequences = format!(
        "SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {taken}
            AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_sequence_privilege(c.oid, 'SELECT'))
            AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                               AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1"
    );
    let large = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata m
                WHERE NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
                  AND NOT pg_catalog.pg_has_role(m.lomowner, 'USAGE')
                  AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(m.lomacl) a WHERE a.privilege_type = 'SELECT'
                                   AND (a.grantee = 0 OR pg_catalog.pg_has_role(a.grantee, 'USAGE')))";
    let large = async {
        if !config.filter.takes_large_objects() {
            return Ok(0);
        }
        Ok(session.query_typed_one(large, &[]).await.map_err(failed)?.get(0))
    };
    let sequences = async { session.query_typed(&sequences, &[]).await.map_err(failed) };
    let (sequences, large) = join(sequences, large).await;
    let (sequences, large) = (sequences?, large?);
    let sequences =
        sequences.iter().map(|r| String::from_utf8_lossy(&r.get::<_, connect::Raw>(0).0).into_owned()).collect();
    Ok((sequences, large))
}

async fn free_connections(session: &Session, passing: i32, wanted: usize) -> Result<usize> {
    // Each limit less what counts against it; a limit of -1 is none. reserved_connections exists from 16 on.
    let sql = format!("SELECT least(
                  pg_catalog.current_setting('max_connections')::pg_catalog.int8
                    - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8
                    - coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int8, 0)
                    - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> {passing}),
                  (SELECT nullif(rolconnlimit, -1)::pg_catalog.int8 FROM pg_catalog.pg_roles WHERE rolname = current_user AND NOT rolsuper)
                    - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = current_user AND pid <> {passing}),
                  (SELECT nullif(datconnlimit, -1)::pg_catalog.int8 FROM pg_catalog.pg_database
                    WHERE datname = pg_catalog.current_database()
                      AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))
                    - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()
                        AND backend_type = 'client backend' AND pid <> {passing}))");
    let row = session.query_typed_one(&sql, &[]).await.map_err(|e| answer::error("cannot count the connections", e))?;
    let free: i64 = row.get(0);
    // This session is to hold the snapshot.
    let jobs = (free + 1 - OTHER_CONNECTIONS).min(wanted as i64);
    if jobs < 1 {
        return Err(Error::new(
            Kind::Refused,
            format!("the server has room for {} more connections, a backup needs 3", free + 1),
        )
        .hint("raise max_connections, or the CONNECTION LIMIT of the role or the database, or end idle sessions"));
    }
    Ok(jobs as usize)
}

async fn large_object_bytes(session: &Session) -> Result<u64> {
    let row =
        session.query_typed_one("SELECT pg_catalog.pg_total_relation_size('pg_catalog.pg_largeobject')", &[]).await;
    Ok(row.map_err(|e| answer::error("cannot read the size of the large objects", e))?.get::<_, i64>(0).max(0) as u64)
}

/// `copy`: bytes of the database, when the throwaway copy lies here; `large`: bytes of large objects, which pg_dump writes here and the
/// proof reads back to here.
pub(crate) fn disk(scratch: &Scratch, copy: u64, large: u64) -> Result<String> {
    let free = scratch::free_space(scratch.path())?;
    // The copy has no dead rows, but its indexes are built anew and sorted on the same disk.
    let needed = copy + copy / 5 + 2 * large + (256 << 20);
    let mib = |bytes: u64| bytes >> 20;
    if free < needed {
        return Err(Error::new(
            Kind::Refused,
            format!(
                "{} has {} MiB free, the throwaway copy and pg_dump need about {} MiB",
                scratch.path().display(),
                mib(free),
                mib(needed)
            ),
        )
        .hint("name a larger disk with scratch-dir, or a server with verify-url"));
    }
    Ok(format!("{} MiB free, about {} MiB needed", mib(free), mib(needed)))
}

/// Extensions that the server cannot create, and why.
pub(crate) async fn missing_extensions(server: &Server, wanted: &[Extension]) -> Result<Vec<(String, String)>> {
    let (available, loaded) = server.extensions().await?;
    let mut missing = Vec::new();
    for extension in wanted {
        let name = &extension.name;
        if !available.contains(name) {
            missing.push((name.clone(), "it is not installed there".into()));
        } else if let Some((_, library)) = PRELOADED.iter().find(|(n, _)| n == name)
            && !loaded.split(',').any(|l| l.trim() == *library)
        {
            missing.push((name.clone(), "its library is not in shared_preload_libraries".into()));
        }
    }
    Ok(missing)
}
