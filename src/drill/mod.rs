//! `savepoint verify`: the restore drill. What is stored, or a dump of anybody's, is restored into a throwaway server, compared where
//! there is something to compare with, asked the team's own questions, and timed.

mod config;
mod page;

pub use config::VerifyConfig;

use crate::cancel::{CLEAN_UP, Cancel};
use crate::{
    checks::{self, Check, Checked, May},
    dumpfile::{self, DumpFile, sql},
    error::{Error, Kind, Result},
    postgres::{
        conninfo::Target,
        tools::{self, Tools},
    },
    preflight,
    progress::{Event, Phase, Progress},
    rehearse,
    report::{
        Rehearsal,
        format::{bytes, count, counted, seconds},
        page::Page,
        proof_line,
    },
    scratch::Scratch,
    store::Store,
    vault::{
        Folder, Manifest, Proof, Receipt, Stored, Which,
        find::{self, Found, newest},
        folder::no_identity,
        manifest::{Extension, File, Role, Source},
        proof::{self, Beside},
        read::{Signed, signed, whole},
    },
    verify::{Prover, limits::Guarded, restore::of_the_archive, server::Server},
};
use page::{Drilled, page};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use time::OffsetDateTime;

/// What must be removed when a drill ends, however it ends.
#[derive(Default)]
struct Bench {
    server: Option<Server>,
    scratch: Option<Scratch>,
    /// What the drill is at, for a failure's report.
    phase: &'static str,
}

impl Bench {
    /// Removes the throwaway server and the folder; returns what could not be removed.
    async fn clear(&mut self, limit: Duration) -> Vec<String> {
        let mut left = Vec::new();
        if let Some(server) = self.server.take() {
            match tokio::time::timeout(limit, server.stop()).await {
                Ok(lines) => left.extend(lines),
                Err(_) => left.push("removing the throwaway server took too long: the next run sweeps it".into()),
            }
        }
        // The server works in this folder, so it goes last.
        left.extend(self.scratch.take().and_then(|s| s.remove().err()).map(|e| e.one_line()));
        left
    }

    /// What came of it, the server's own end first.
    fn judged<T>(&self, worked: Result<T>) -> Result<T> {
        match &self.server {
            Some(server) => server.judge(worked),
            None => worked,
        }
    }

    fn server(&mut self) -> Result<&mut Server> {
        self.server.as_mut().ok_or_else(|| Error::new(Kind::Throwaway, "the throwaway server is gone"))
    }
}

/// Drills, reports, and cleans up behind itself, also when cancelled.
pub async fn run(config: &VerifyConfig, progress: Arc<dyn Progress>, cancel: Cancel) -> Page {
    let begun = Instant::now();
    let mut bench = Bench { phase: "preflight", ..Bench::default() };
    let work = work(config, &mut bench, &progress);
    let worked = cancel.unless(work, || cancel.error().hint("nothing is left of it: run it again")).await;
    let left = bench.clear(cancel.clean_up()).await;
    let mut page = match worked {
        Ok(drilled) => page(config, drilled),
        Err(e) => {
            let mut page = Page::failed("verify", bench.phase, &e);
            page.outputs.push(("verified", "false".into()));
            page.json = json!({ "verified": false });
            page
        }
    };
    page.warnings.extend(left);
    let took = begun.elapsed().as_secs_f64();
    page.outputs.push(("duration-seconds", format!("{took:.1}")));
    if let Some(object) = page.json.as_object_mut() {
        object.insert("seconds".into(), json!(took));
    }
    page
}

async fn work(config: &VerifyConfig, bench: &mut Bench, progress: &Arc<dyn Progress>) -> Result<Vec<Drilled>> {
    let checks =
        config.check_sql.as_deref().map(|path| checks::read("check-sql", path)).transpose()?.unwrap_or_default();
    for line in Scratch::sweep(config.engine.scratch_dir.as_deref()) {
        progress.event(Event::Notice(&line));
    }
    if let Which::File(path) = &config.pick.which {
        let drilled = file(config, path, &checks, bench, progress).await;
        return Ok(vec![bench.judged(drilled)?]);
    }
    let Some(destination) = &config.destination else {
        return Err(Error::new(Kind::Usage, "option destination: not set").hint("name the place that backups lie in"));
    };
    let place = find::place(destination, &config.pick).await?;
    let (store, Found { backups: found, strangers }) = (place.store, place.found);
    place.passed_over.iter().for_each(|line| progress.event(Event::Warning(line)));
    strangers.iter().for_each(|line| progress.event(Event::Warning(line)));
    // How much would be lost now is told by the newest backup, whichever is being proven.
    let mut youngest: BTreeMap<String, OffsetDateTime> = BTreeMap::new();
    for database in found.iter().map(|s| s.database.as_str()).collect::<BTreeSet<_>>() {
        let of_kind = |s: &Stored| config.pick.kind.is_none_or(|k| k == s.kind);
        if let Some(stored) = newest(&store, database, of_kind).await?.backups.first() {
            youngest.insert(database.to_owned(), stored.at);
        }
    }
    let many = found.len() > 1;
    let mut all = Vec::new();
    for (n, one) in found.iter().enumerate() {
        if many {
            progress.event(Event::Notice(&format!("{} of {}: {}", n + 1, found.len(), one.id)));
        }
        let age = youngest.get(&one.database).map(|at| (OffsetDateTime::now_utc() - *at).as_seconds_f64().max(0.0));
        let drilled = stored(config, &store, one, &checks, bench, progress).await;
        let drilled = bench.judged(drilled);
        let mut drilled = match drilled {
            Err(e) if !many => return Err(e),
            Err(e) => {
                Drilled { name: one.id.clone(), about: one.database.clone(), error: Some(e), ..Drilled::default() }
            }
            Ok(drilled) => drilled,
        };
        drilled.age = age;
        if let Some(age) = age {
            drilled.facts.push(("age", format!("{} since the newest backup", seconds(age))));
        }
        drilled.judge(config);
        if many {
            drilled.warnings.extend(bench.clear(CLEAN_UP).await);
        }
        all.push(drilled);
    }
    Ok(all)
}

/// Makes ready a folder and, where one is needed, a server like the source's.
async fn prepare(
    config: &VerifyConfig,
    bench: &mut Bench,
    tools: &Tools,
    source: &Source,
    (copy, local): (u64, u64),
    extensions: &[Extension],
    guarded: Guarded,
) -> Result<()> {
    let scratch = bench.scratch.insert(Scratch::create(config.engine.scratch_dir.as_deref())?);
    let built_in = config.level.restores() && config.verify_url.is_none();
    preflight::descriptors(config.engine.jobs)?;
    preflight::disk(scratch, if built_in { copy } else { 0 }, local)?;
    if !config.level.restores() {
        return Ok(());
    }
    let server = match &config.verify_url {
        Some(url) => Server::at(url, source).await?,
        None => {
            let folder = scratch.path().join("throwaway");
            Server::built_in(tools, &folder, source, extensions, &config.engine, guarded, config.rehearse.is_some())
                .await?
        }
    };
    let server = bench.server.insert(server);
    let missing = preflight::missing_extensions(server, extensions).await?;
    let Some((name, why)) = missing.first() else { return Ok(()) };
    let more = if missing.len() > 1 { format!(" (and {} more)", missing.len() - 1) } else { String::new() };
    Err(Error::new(Kind::Refused, format!("the throwaway server lacks extension {name}: {why}{more}")).hint(
        "point verify-url at a server that has it, such as a service container of the image that you use in production",
    ))
}

/// The manifest of a backup, as far as it is needed.
async fn readable(config: &VerifyConfig, store: &Arc<dyn Store>, stored: &Stored) -> Result<Signed> {
    // A manifest that cannot be understood is no trouble on the way, but a backup that is lost.
    let lost = |e: Error| match of_the_archive(&e) {
        true => {
            let cure = e.hint_text().map(str::to_owned);
            let lost = Error::new(Kind::Proof, format!("backup {} cannot be proven", stored.id)).because(e);
            cure.into_iter().fold(lost, Error::hint)
        }
        false => e,
    };
    let shown = signed(store, stored, config.verify_key.as_ref()).await.map_err(lost)?;
    match &config.identity {
        None if shown.manifest.encryption.is_some() && config.level.restores() => {
            Err(no_identity(&format!("backup {}", stored.id)))
        }
        None => Ok(shown),
        Some(keys) => {
            let folder = Folder::new(store.clone(), &stored.folder).opened_by(Some(keys.clone()));
            Ok(Signed { manifest: whole(&folder, shown.manifest).await.map_err(lost)?, ..shown })
        }
    }
}

async fn stored(
    config: &VerifyConfig,
    store: &Arc<dyn Store>,
    stored: &Stored,
    checks: &[Check],
    bench: &mut Bench,
    progress: &Arc<dyn Progress>,
) -> Result<Drilled> {
    bench.phase = "preflight";
    progress.event(Event::Started(Phase::Preflight));
    let begun = Instant::now();
    let Signed { manifest, sha256, receipt } = readable(config, store, stored).await?;
    let built_in = config.level.restores() && config.verify_url.is_none();
    let tools = match config.level.restores() {
        true => Some(tools::find(manifest.source.major, &config.engine.pg_bin_dirs, built_in).await?),
        false => None,
    };
    if let Some(tools) = &tools {
        let whole = manifest.options.filter.is_everything();
        let copy = if whole { manifest.source.database_bytes } else { 2 * manifest.totals.bytes };
        let (bytes, guarded) = ((copy, own_bytes(&manifest)), Guarded::of_ours(&config.guard));
        prepare(config, bench, tools, &manifest.source, bytes, &manifest.extensions, guarded).await?;
    }
    progress.event(Event::Finished(Phase::Preflight, begun.elapsed()));
    let proof = prove(config, store, stored, &manifest, tools, checks, bench, progress);
    let (proof, checked, rehearsal) = proof.await?;
    let mut drilled = Drilled {
        name: manifest.id.clone(),
        about: manifest.source.database.clone(),
        passed: proof.passed,
        differences: proof.differences.clone(),
        unproven: proof.unproven.clone(),
        checks: checked,
        rehearsal,
        rto: proof.timings.get(Phase::Restore.name()).copied(),
        tables: manifest.totals.tables,
        rows: manifest.totals.rows,
        ..Drilled::default()
    };
    drilled.warnings.extend(receipt.warning(&format!("backup {}", stored.id)));
    if receipt != Receipt::Unsigned && config.signer.is_none() {
        drilled.warnings.push("the backup is signed, and this record of its proof is not: sign-key signs it".into());
    }
    let beside = Beside {
        store,
        folder: &stored.folder,
        hides_names: manifest.hidden().is_some(),
        manifest_sha256: &sha256,
        signer: config.signer.as_ref(),
    };
    match proof::record(beside, &proof).await {
        Ok(key) => drilled.proof_uri = Some(store.uri(&key)),
        Err(e) => drilled.warnings.push(e.context("the proof record was not stored").one_line()),
    }
    let totals = &manifest.totals;
    drilled.facts = vec![
        ("backup", manifest.id.clone()),
        ("taken", format!("{} ({})", manifest.taken_at, manifest.kind.name())),
        ("source", format!("{}, PostgreSQL {}", manifest.source.database, manifest.source.server_version)),
        ("stored", store.uri(&stored.folder)),
        ("content", format!("{}, {}", counted(totals.tables, "table"), counted(totals.rows, "row"))),
    ];
    drilled.facts.extend(receipt.line().map(|by| ("signed", by)));
    drilled.facts.push(("proof", proof_line(&proof)));
    drilled.proof = Some(proof);
    told(&mut drilled);
    Ok(drilled)
}

/// Facts that every drill has.
fn told(drilled: &mut Drilled) {
    drilled.facts.extend(drilled.rehearsal.as_ref().map(|rehearsal| ("rehearsal", rehearsal.line())));
    if let Some(rto) = drilled.rto {
        drilled.facts.push(("restore", format!("{} until usable", seconds(rto))));
    }
    if !drilled.checks.is_empty() {
        let (all, failed) = (drilled.checks.len(), drilled.failed_checks().len());
        drilled
            .facts
            .push(("checks", format!("{} passed, {} failed", count((all - failed) as u64), count(failed as u64))));
    }
}

/// Bytes that are copied here for pg_restore: what pg_dump wrote.
fn own_bytes(manifest: &Manifest) -> u64 {
    manifest.own_files().map(File::content).sum()
}

#[allow(clippy::too_many_arguments, reason = "what a proof stands on")]
async fn prove(
    config: &VerifyConfig,
    store: &Arc<dyn Store>,
    stored: &Stored,
    manifest: &Manifest,
    tools: Option<Tools>,
    checks: &[Check],
    bench: &mut Bench,
    progress: &Arc<dyn Progress>,
) -> Result<(Proof, Vec<Checked>, Option<Rehearsal>)> {
    let restores = tools.is_some();
    let prover = Prover {
        folder: Folder::new(store.clone(), &stored.folder).telling(progress.clone()).opened_by(config.identity.clone()),
        tools: tools.unwrap_or_default(),
        level: config.level,
        scratch: bench.scratch.as_ref().map(|s| s.path().to_owned()).unwrap_or_default(),
        jobs: config.engine.jobs,
        progress: progress.clone(),
    };
    if !restores {
        bench.phase = Phase::Compare.name();
        return Ok((prover.archive_only(manifest).await?, Vec::new(), None));
    }
    bench.phase = Phase::Restore.name();
    let half = prover.stored(bench.server()?, manifest).await?;
    let (copy, toc) = (half.target().clone(), half.toc_path());
    bench.phase = Phase::Compare.name();
    let proof = prover.compare(bench.server()?, manifest, half).await?;
    bench.phase = "check-sql";
    // They may change the copy.
    let checked = checks::run(&copy, checks, May::Write).await?;
    let Some(rehearse) = config.rehearse.as_ref().filter(|_| proof.passed) else { return Ok((proof, checked, None)) };
    bench.phase = Phase::Rehearse.name();
    let scratch = prover.scratch.clone();
    let on = rehearse::Copy {
        server: bench.server()?,
        target: copy,
        toc,
        manifest,
        source: rehearse::Address {
            host: manifest.source.host.clone(),
            port: manifest.source.port,
            user: manifest.source.user.clone(),
            password: None,
        },
        tools: &prover.tools,
        scratch: &scratch,
        jobs: config.engine.jobs,
    };
    Ok((proof, checked, Some(rehearse::rehearse(on, rehearse, progress).await)))
}

/// The drill of a dump that has no manifest.
async fn file(
    config: &VerifyConfig,
    path: &Path,
    checks: &[Check],
    bench: &mut Bench,
    progress: &Arc<dyn Progress>,
) -> Result<Drilled> {
    if config.max_age.is_some() {
        return Err(Error::new(
            Kind::Usage,
            "option max-age: a dump does not tell its age: the clock in it names no time zone",
        )
        .hint("leave max-age out, or verify a stored backup"));
    }
    progress.event(Event::Started(Phase::Preflight));
    let begun = Instant::now();
    let dump = dumpfile::examine(path, None, &**progress).await.map_err(no_whole_dump)?;
    let mut drilled = Drilled {
        name: path.display().to_string(),
        about: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        is_file: true,
        passed: true,
        tables: dump.tables,
        rows: dump.rows.values().flatten().sum(),
        warnings: dump.warnings.clone(),
        facts: facts(&dump),
        ..Drilled::default()
    };
    if !config.level.restores() {
        progress.event(Event::Finished(Phase::Preflight, begun.elapsed()));
        drilled.facts.push(("proof", "read to its end, whole; nothing was restored".into()));
        drilled.unproven.push("that the dump restores: it was only read".into());
        return Ok(drilled);
    }
    let tools = tools_for(config, &dump).await?;
    dump.known_to(&tools).await?;
    let source = source(&dump, tools.major);
    let extension = |name: &String| Extension { name: name.clone(), version: String::new(), schema: String::new() };
    let extensions: Vec<Extension> = dump.extensions.iter().map(extension).collect();
    // Rows take more room in a table than as text; indexes come on top.
    let guarded = Guarded::of_anybodys(&config.guard);
    prepare(config, bench, &tools, &source, (2 * dump.bytes, 0), &extensions, guarded).await?;
    let server = bench.server()?;
    if !server.is_caged() {
        let place = format!(", and {}", server.uncaged().unwrap_or_else(|| "verify-url is a real server".into()));
        dump.trusted(config.trust_file, &place)?;
    }
    drilled.warnings.extend(server.uncaged());
    if !dump.reaches.is_empty() {
        let first = dump.reaches.first().map(String::as_str).unwrap_or_default();
        drilled.warnings.push(format!("it reaches out of the database, {} in all: {first}", dump.reaches.len()));
    }
    progress.event(Event::Finished(Phase::Preflight, begun.elapsed()));

    let copy = Copy::make(config, &dump, &tools, &source, bench, progress).await?;
    bench.phase = Phase::Compare.name();
    copy.count(&dump, &source, &mut drilled, progress).await?;
    bench.phase = "check-sql";
    drilled.checks = checks::run(&copy.target, checks, May::Write).await?;
    told(&mut drilled);
    drilled.judge(config);
    Ok(drilled)
}

/// A dump that was read and is no whole dump: that is an answer.
fn no_whole_dump(e: Error) -> Error {
    if e.kind() != Kind::Archive {
        return e;
    }
    let proof = Error::new(Kind::Proof, e.one_line());
    match e.hint_text() {
        Some(hint) => proof.hint(hint),
        None => proof,
    }
}

/// A dump, restored into a throwaway database.
struct Copy {
    target: Target,
    /// Where it was restored into, in words.
    server: String,
    /// What the database could not be given.
    notes: Vec<String>,
    problems: Vec<String>,
    took: Duration,
}

impl Copy {
    async fn make(
        config: &VerifyConfig,
        dump: &DumpFile,
        tools: &Tools,
        source: &Source,
        bench: &mut Bench,
        progress: &Arc<dyn Progress>,
    ) -> Result<Copy> {
        bench.phase = Phase::Restore.name();
        progress.event(Event::Started(Phase::Restore));
        let folder = bench.scratch.as_ref().map(|s| s.path().to_owned()).unwrap_or_default();
        let server = bench.server()?;
        // An event trigger must belong to a superuser.
        let roles: Vec<Role> = dump.roles.iter().map(|name| Role { name: name.clone(), superuser: true }).collect();
        server.create_roles(&roles, &**progress).await?;
        let (target, notes) = server.create_database(source, "").await?;
        let described = server.describe();
        let begun = Instant::now();
        let options = dumpfile::Options { jobs: config.engine.jobs, ..dumpfile::Options::default() };
        let problems = dump.restore(tools, &target, &folder, &options, progress.clone()).await?;
        let took = begun.elapsed();
        progress.event(Event::Finished(Phase::Restore, took));
        let server = format!("restored into PostgreSQL {} ({})", described.version, described.kind);
        Ok(Copy { target, server, notes, problems, took })
    }

    /// Counts its rows against those of the dump, and says what came of it.
    async fn count(
        &self,
        dump: &DumpFile,
        source: &Source,
        drilled: &mut Drilled,
        progress: &Arc<dyn Progress>,
    ) -> Result<()> {
        progress.event(Event::Started(Phase::Compare));
        let begun = Instant::now();
        let found = dump.count(&self.target).await?;
        drilled.rto = Some(self.took.as_secs_f64());
        drilled.unproven.extend(self.notes.iter().cloned().chain(found.unproven));
        if dump.create_database.is_none() {
            let (encoding, collate) = (&source.encoding, &source.collate);
            drilled.unproven.push(format!(
                "the order of text: the dump does not name its locale, {encoding} and {collate} were used"
            ));
        }
        drilled.unproven.push("content of the rows: the dump holds no fingerprints to compare with".into());
        drilled.differences = self.problems.iter().cloned().chain(found.differences).collect();
        drilled.passed = drilled.differences.is_empty();
        (drilled.tables, drilled.rows) = (found.tables, found.rows);
        progress.event(Event::Finished(Phase::Compare, begun.elapsed()));
        let (tables, rows) = (counted(found.tables, "table"), counted(found.rows, "row"));
        let into = &self.server;
        let as_many = if dump.rows.values().all(Option::is_some) { ", as many as the dump holds" } else { "" };
        let verdict = match drilled.differences.len() {
            0 => format!("{into} without an error: {tables} with {rows}{as_many}; no fingerprints to compare with"),
            n => format!("{into} with {}: {tables} with {rows}", counted(n as u64, "problem")),
        };
        drilled.facts.push(("proof", verdict));
        Ok(())
    }
}

fn facts(dump: &DumpFile) -> Vec<(&'static str, String)> {
    let mut facts = vec![("dump", dump.path.display().to_string())];
    let packed = dump.compression.name();
    facts.push(("format", format!("{}, compression {packed}, {}", dump.format.name(), bytes(dump.size))));
    let version = |v: &Option<String>| v.clone().unwrap_or_else(|| "of an unknown version".into());
    let database = dump.database.as_ref().map(|d| format!("{d}, ")).unwrap_or_default();
    let taken = dump.created.as_ref().map(|c| format!(", {c} there")).unwrap_or_default();
    let (server, by) = (version(&dump.source_version), version(&dump.dump_version));
    facts.push(("source", format!("{database}PostgreSQL {server}, by pg_dump {by}{taken}")));
    facts
}

/// Programs of the dumped server's major; where that is no longer installed, of the major of the pg_dump that wrote it.
async fn tools_for(config: &VerifyConfig, dump: &DumpFile) -> Result<Tools> {
    let by = dump.dump_version.as_deref().and_then(dumpfile::major);
    let Some(major) = dump.major.or(by) else {
        return Err(Error::new(Kind::Refused, format!("{}: its PostgreSQL version is unknown", dump.path.display()))
            .hint("restore it by psql or pg_restore of the version that it comes from"));
    };
    let built_in = config.verify_url.is_none();
    let found = tools::find(major, &config.engine.pg_bin_dirs, built_in).await;
    match (found, by) {
        (Err(e), Some(by)) if by > major => tools::find(by, &config.engine.pg_bin_dirs, built_in).await.map_err(|_| e),
        (found, _) => found,
    }
}

/// What is known of the server that was dumped, and for the rest the usual.
fn source(dump: &DumpFile, major: u32) -> Source {
    let encoding = dump.encoding.clone().unwrap_or_else(|| "UTF8".into());
    let words = dump.create_database.as_deref().map(|s| sql::tokens(s.as_bytes())).unwrap_or_default();
    // `NAME = 'value'`, or `NAME = value`.
    let option = |name: &str| {
        let at = words.iter().position(|w| w == name).filter(|n| words.get(n + 1).is_some_and(|w| w == "="))?;
        words.get(at + 2).map(|v| v.trim_start_matches('\'').to_owned())
    };
    let usual = || if encoding == "UTF8" { "C.UTF-8".to_owned() } else { "C".to_owned() };
    let both = option("locale");
    let provider = option("locale_provider").unwrap_or_else(|| "libc".into());
    Source {
        host: String::new(),
        port: 0,
        database: dump.database.clone().unwrap_or_default(),
        user: String::new(),
        server_version: dump.source_version.clone().unwrap_or_default(),
        major,
        collate: option("lc_collate").or_else(|| both.clone()).unwrap_or_else(usual),
        ctype: option("lc_ctype").or(both).unwrap_or_else(usual),
        locale: option("icu_locale").or_else(|| option("builtin_locale")),
        locale_provider: provider,
        lc_monetary: "C".into(),
        database_bytes: dump.bytes,
        snapshot: String::new(),
        bootstrap_role: "postgres".into(),
        standby: false,
        preloaded: Vec::new(),
        encoding,
    }
}
