//! Orchestrates a backup from preflight to proof.

mod config;

pub use config::BackupConfig;

use crate::{
    archive::{
        TABLE_FILE,
        compression::Compression,
        schema,
        toc::{TableData, Toc},
    },
    clock::{now, stamp},
    dump::{
        catalog::{self, Relation},
        copy,
        pg_dump::{self, Dumped},
        plan::{self, Plan},
        rate::Rate,
        sink::{InFlight, Sink},
        snapshot,
        worker::{self, Batch, Done, Engine, TableJob, Task},
    },
    error::{self, Error, Kind, Result},
    inventory::anomalies::{self, Beside},
    postgres::{
        connect::Session,
        conninfo::{self, Target},
        tools::{Run, Tools},
    },
    preflight::{self, Reach, Ready, Starting},
    progress::{Event, Phase, Progress},
    prune,
    report::{Failure, Outcome, PlanReport, PlanTable, Pruned, Report, StoredBackup},
    scratch::Scratch,
    store::{Destination, Store},
    vault::{
        Address, Filter, Manifest, Proof, VerifyLevel,
        manifest::{
            Extension, FORMAT_VERSION, File, LargeObject, Matview, Options, Role, Source, Table, TakenBy, Totals,
        },
    },
    verify::{
        Begin, Half, Prover, granted_extensions,
        restore::{Incoming, Stored},
        server::Server,
    },
};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::{io::AsyncReadExt, sync::mpsc};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

/// Bytes that may be on their way to the store at a time.
const IN_FLIGHT: usize = 64 << 20;

/// Frames that wait for a connection that restores them. One is enough: whoever is free takes it at once, the others are read back later.
const FRESH: usize = 1;

/// Size of the parts in which pg_dump's own larger files are sent.
const FILE_PART: usize = 16 << 20;

/// How long cleaning up behind a failure may take, and behind a signal (the runner kills after about 10 s).
const CLEAN_UP: Duration = Duration::from_secs(60);
const CLEAN_UP_INTERRUPTED: Duration = Duration::from_secs(6);
/// How often at most, and how long after one another, the destination is looked at for what a broken off request left.
const LAST_LOOKS: u32 = 4;
const LOOK_AGAIN: Duration = Duration::from_millis(400);

/// Hands events on, and keeps what the report needs of them.
struct Recorder {
    inner: Arc<dyn Progress>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    phase: Option<Phase>,
    phases: BTreeMap<Phase, Duration>,
    warnings: Vec<String>,
    notices: Vec<String>,
}

impl Recorder {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Progress for Recorder {
    fn event(&self, event: Event<'_>) {
        {
            let mut kept = self.kept();
            match event {
                // The restore begins while the dump goes on: an error then is the dump's.
                Event::Started(Phase::Restore) => {}
                Event::Finished(Phase::Commit, time) => {
                    kept.phases.insert(Phase::Commit, time);
                    kept.phase = Some(Phase::Restore);
                }
                Event::Started(phase) => kept.phase = Some(phase),
                Event::Finished(phase, time) => {
                    kept.phases.insert(phase, time);
                }
                Event::Warning(text) => kept.warnings.push(text.into()),
                Event::Notice(text) => kept.notices.push(text.into()),
                _ => {}
            }
        }
        self.inner.event(event);
    }
}

/// What must be put right when a run ends before its commit point, and what a report needs in any case.
#[derive(Default)]
struct Traces {
    store: Option<Arc<dyn Store>>,
    folder: Option<String>,
    sinks: Vec<Arc<Sink>>,
    server: Option<Server>,
    /// The server on its way up. Locked while somebody waits for it.
    starting: Arc<tokio::sync::Mutex<Option<Starting>>>,
    scratch: Option<Scratch>,
    committed: Option<StoredBackup>,
    anomalies: Vec<String>,
    proof: Option<Proof>,
    tracker: TaskTracker,
}

type Shared = Arc<Mutex<Traces>>;

fn with<T>(traces: &Shared, f: impl FnOnce(&mut Traces) -> T) -> T {
    f(&mut traces.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Takes a backup, stores it and proves it. Never panics and always reports; cleans up behind itself, also when cancelled.
pub async fn run(config: &BackupConfig, progress: Arc<dyn Progress>, cancel: CancellationToken) -> Report {
    let (started_at, begun) = (now(), Instant::now());
    let recorder = Arc::new(Recorder { inner: progress, kept: Mutex::default() });
    let traces: Shared = Arc::default();
    let worked = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(interrupted(&traces)),
        worked = work(config, recorder.clone(), traces.clone()) => worked,
    };
    let limit = if cancel.is_cancelled() { CLEAN_UP_INTERRUPTED } else { CLEAN_UP };
    clean_up(&traces, worked.is_err(), limit, &*recorder).await;
    let (backup, proof) = with(&traces, |t| (t.committed.take(), t.proof.take()));
    let anomalies = with(&traces, |t| std::mem::take(&mut t.anomalies));
    let mut kept = std::mem::take(&mut *recorder.kept());
    let phase = kept.phase.unwrap_or(Phase::Preflight).name().to_owned();
    let failure = worked.err().map(|e| Failure {
        phase,
        message: if config.redact_host {
            e.one_line().replace(&config.source.host, &config.source.host_label(true))
        } else {
            e.one_line()
        },
        hint: e.hint_text().map(str::to_owned),
        exit_code: e.exit_code(),
    });
    let outcome = match (&backup, &proof, &failure) {
        (None, ..) => Outcome::Failed,
        (Some(_), _, Some(_)) => Outcome::ProofFailed,
        (Some(_), Some(proof), None) if proof.passed => Outcome::Proven,
        (Some(_), Some(_), None) => Outcome::ProofFailed,
        (Some(_), None, None) => Outcome::Stored,
    };
    let proven = proof.as_ref().is_some_and(Proof::proves_a_restore) && outcome == Outcome::Proven;
    let pruned = match (&config.prune, &backup) {
        (Some(retention), Some(backup)) if proven && anomalies.is_empty() => {
            let pruned = prune::behind(config, retention, &backup.manifest, &*recorder.inner, &cancel).await;
            let mut pruned = pruned.unwrap_or_else(|e| Pruned {
                failure: Some(e.one_line()),
                hint: e.hint_text().map(str::to_owned),
                ..Pruned::default()
            });
            kept.warnings.append(&mut pruned.warnings);
            Some(pruned)
        }
        (Some(_), Some(_)) if proven => {
            // The older ones may be what is needed to find out, or to get back.
            kept.warnings.push("nothing was pruned: this backup differs too much from the one before".into());
            None
        }
        (Some(_), _) => {
            kept.warnings.push("nothing was pruned: this run's own backup is not proven by a restore".into());
            None
        }
        (None, _) => None,
    };
    Report {
        outcome,
        database: config.source.dbname.clone(),
        source: source_label(config),
        destination: destination_label(&config.destination),
        s3_endpoint: match &config.destination {
            Destination::S3(s3) => s3.endpoint.clone(),
            Destination::Local(_) => None,
        },
        kind: config.kind,
        verify: config.verify,
        backup,
        proof,
        failure,
        anomalies,
        fail_on_anomaly: config.anomaly.fail,
        pruned,
        warnings: kept.warnings,
        notices: kept.notices,
        started_at,
        seconds: begun.elapsed().as_secs_f64(),
        phases: kept.phases.into_iter().map(|(p, t)| (p.name().to_owned(), t.as_secs_f64())).collect(),
        context: config.context.clone(),
    }
}

fn interrupted(traces: &Shared) -> Error {
    let error = Error::new(Kind::Interrupted, "interrupted by a signal");
    match with(traces, |t| t.committed.is_some()) {
        true => error.hint("the backup is stored, but not proven"),
        false => error.hint("nothing half-done is left: run it again"),
    }
}

fn source_label(config: &BackupConfig) -> String {
    match config.redact_host {
        true => format!("{} on {}", config.source.dbname, config.source.host_label(true)),
        false => config.source.redacted(),
    }
}

fn destination_label(destination: &Destination) -> String {
    match destination {
        Destination::Local(path) => path.display().to_string(),
        Destination::S3(s3) => format!("s3://{}/{}", s3.bucket, s3.prefix),
    }
}

/// Removes the throwaway server, this run's folder and, before the commit point, everything that was stored.
async fn clean_up(traces: &Shared, failed: bool, limit: Duration, progress: &dyn Progress) {
    // Tasks that were broken off end at their next breath; until then they may hold the server or store another object.
    let ended = with(traces, |t| t.tracker.clone());
    ended.close();
    let _ = tokio::time::timeout(limit / 2, ended.wait()).await;
    let (starting, server, scratch, store, folder, sinks, committed) = with(traces, |t| {
        let (starting, sinks) = (t.starting.clone(), std::mem::take(&mut t.sinks));
        (starting, t.server.take(), t.scratch.take(), t.store.take(), t.folder.take(), sinks, t.committed.is_some())
    });
    let remove_stored = async {
        if !failed || committed {
            return Vec::new();
        }
        match (store, folder) {
            (Some(store), Some(folder)) => remove_stored(&*store, &folder, &sinks).await,
            _ => Vec::new(),
        }
    };
    let stop = async {
        if let Some(starting) = starting.lock().await.take() {
            return starting.stop().await;
        }
        match server {
            Some(server) => server.stop().await,
            None => Vec::new(),
        }
    };
    match tokio::time::timeout(limit, async { tokio::join!(stop, remove_stored) }).await {
        Ok((stopped, stored)) => {
            for line in stopped.iter().chain(&stored) {
                progress.event(Event::Warning(line));
            }
        }
        Err(_) => progress.event(Event::Warning(
            "cleaning up took too long: unfinished objects of this run may be left in the destination; without a manifest they are \
             no backup",
        )),
    }
    // The server works in this folder, so it goes last.
    if let Some(Err(e)) = scratch.map(Scratch::remove) {
        progress.event(Event::Warning(&e.one_line()));
    }
}

/// Aborts the uploads and removes the objects of a backup that was not committed; returns a line for each that is left.
async fn remove_stored(store: &dyn Store, folder: &str, sinks: &[Arc<Sink>]) -> Vec<String> {
    let mut left = Vec::new();
    for sink in sinks {
        if let Err(e) = sink.abort().await {
            left.push(format!("an unfinished upload is left at {}: {}", store.uri(sink.key()), e.one_line()));
        }
    }
    // A request that was broken off may still be carried out by the server, behind the first look.
    for look in 1..=LAST_LOOKS {
        let more = remove_listed(store, folder, &mut left).await;
        if !more && look > 1 || !left.is_empty() {
            break;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    left
}

/// Aborts and removes what is listed below `folder`; true when there was something, which is gone now.
async fn remove_listed(store: &dyn Store, folder: &str, left: &mut Vec<String>) -> bool {
    let mut removed = false;
    match store.abort_uploads(folder).await {
        Ok(aborted) => removed |= aborted > 0,
        Err(e) => {
            left.push(format!("unfinished uploads may be left below {}: {}", store.uri(folder), e.one_line()));
        }
    }
    match store.list(folder).await {
        Ok(objects) => {
            removed |= !objects.is_empty();
            // Should a manifest have been written after all, it goes first: half a backup is no backup.
            let keys = objects.into_iter().map(|o| o.key);
            let (manifest, rest): (Vec<_>, Vec<_>) = keys.partition(|k| k.ends_with("/manifest.json"));
            for keys in [manifest, rest].iter().filter(|keys| !keys.is_empty()) {
                let stay = store.delete_many(keys).await.into_iter();
                left.extend(stay.map(|(k, e)| format!("{} could not be removed: {}", store.uri(&k), e.one_line())));
            }
        }
        Err(e) => left.push(format!("what is left below {} is unknown: {}", store.uri(folder), e.one_line())),
    }
    removed
}

/// Times a phase and tells of it.
async fn phase<T>(progress: &dyn Progress, phase: Phase, work: impl Future<Output = Result<T>>) -> Result<T> {
    let begun = Instant::now();
    progress.event(Event::Started(phase));
    let done = work.await?;
    progress.event(Event::Finished(phase, begun.elapsed()));
    Ok(done)
}

async fn work(config: &BackupConfig, progress: Arc<Recorder>, traces: Shared) -> Result<()> {
    let begun = Instant::now();
    let ready = phase(&*progress, Phase::Preflight, async {
        let examined = preflight::examine(config, Reach::Full, &*progress).await;
        for check in &examined.checks {
            if check.status == crate::report::Status::Warning {
                progress.event(Event::Warning(&format!("{}: {}", check.name, check.detail)));
            }
        }
        examined.ready.ok_or_else(|| preflight::refusal(&examined.checks))
    })
    .await?;
    let Ready { target, session, source, extensions, tools, store, server, scratch, jobs } = ready;
    let store = store.ok_or_else(|| Error::new(Kind::Store, "the destination was not opened"))?;
    let scratch_path = scratch.path().to_owned();
    let proves = server.is_some();
    with(&traces, |t| {
        t.store = Some(store.clone());
        t.scratch = Some(scratch);
        t.starting = Arc::new(tokio::sync::Mutex::new(server));
    });
    let ground = Ground {
        config,
        target,
        source,
        extensions,
        tools,
        store,
        jobs,
        scratch: scratch_path,
        proves,
        progress,
        traces,
    };
    let (mut attempt, mut session) = (1, Some(session));
    let taken = loop {
        match ground.take(attempt, session.take()).await {
            Err(e) if e.kind() == Kind::Locked && begun.elapsed() < PATIENCE => {
                ground.start_over(&e).await?;
                attempt += 1;
            }
            taken => break taken?,
        }
    };
    ground.commit(taken, begun).await
}

/// How long a dump is begun anew because a migration came between our locks and pg_dump's.
const PATIENCE: Duration = Duration::from_secs(180);

/// What every attempt at a dump stands on.
struct Ground<'a> {
    config: &'a BackupConfig,
    target: Target,
    source: Source,
    extensions: Vec<Extension>,
    tools: Tools,
    store: Arc<dyn Store>,
    jobs: usize,
    scratch: PathBuf,
    proves: bool,
    progress: Arc<Recorder>,
    traces: Shared,
}

/// A dump whose rows are all stored; nothing is committed yet.
struct Taken {
    id: String,
    folder: String,
    taken_at: OffsetDateTime,
    source: Source,
    compression: Compression,
    plan: Plan,
    dumped: Arc<Dumped>,
    sequence_names: HashMap<catalog::RawName, (String, String)>,
    matviews: Vec<Matview>,
    roles: Vec<Role>,
    large_objects: Vec<LargeObject>,
    globals: Result<File, String>,
    own: Vec<File>,
    tables: Vec<Table>,
    files: Vec<File>,
    prover: Prover,
    restoring: Option<AbortOnDropHandle<Result<Half>>>,
}

impl Ground<'_> {
    /// Removes what a broken-off attempt stored, lets go of its locks, and gives the migration that waited a moment to pass.
    async fn start_over(&self, e: &Error) -> Result<()> {
        self.progress.event(Event::Notice(&format!("{}; starting over", e.message())));
        let (folder, sinks, tracker) =
            with(&self.traces, |t| (t.folder.take(), std::mem::take(&mut t.sinks), t.tracker.clone()));
        tracker.close();
        tracker.wait().await;
        tracker.reopen();
        if let Some(folder) = folder {
            for line in remove_stored(&*self.store, &folder, &sinks).await {
                self.progress.event(Event::Warning(&line));
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    /// Waits for the throwaway server; at once when there is none, or when it is up already.
    async fn server_is_up(&self) -> Result<()> {
        let starting = with(&self.traces, |t| t.starting.clone());
        let mut starting = starting.lock().await;
        if let Some(on_its_way) = starting.as_mut() {
            let server = on_its_way.up().await;
            *starting = None;
            let server = server?;
            let described = server.describe();
            let line = format!("throwaway: PostgreSQL {} ({}) is up", described.version, described.kind);
            self.progress.event(Event::Detail(&line));
            with(&self.traces, |t| t.server = Some(server));
        }
        Ok(())
    }

    /// One attempt: locks, snapshot, rows.
    async fn take(&self, attempt: u32, session: Option<Session>) -> Result<Taken> {
        let Ground { config, target, tools, store, jobs, scratch: scratch_path, proves, progress, traces, .. } = self;
        let (jobs, proves) = (*jobs, *proves);
        let tracker = with(traces, |t| t.tracker.clone());
        let mut source = self.source.clone();
        // Plan: locks, snapshot, chunks.
        let plan_begun = Instant::now();
        progress.event(Event::Started(Phase::Plan));
        let session = match session {
            Some(session) => session,
            None => snapshot::reading_session(target, source.major, &source.encoding).await?,
        };
        let mut snapshot = snapshot::take(session, &config.filter, &**progress).await?;
        refuse_empty(config, &snapshot.relations)?;
        let (relations, sizes) = (std::mem::take(&mut snapshot.relations), std::mem::take(&mut snapshot.sizes));
        let mut plan = plan::plan(&relations, &sizes, source.major, source.standby);
        source.snapshot = snapshot.id.clone();
        let taken_at = snapshot.taken_at;
        let compression = config.compression.for_major(source.major);
        let dump_folder = scratch_path.join(format!("dump-{attempt}"));
        let filter = &config.filter;
        let pg_dump =
            pg_dump::start(tools, target, &snapshot.id, filter, &plan, compression, &dump_folder, progress.clone())?;
        let session = &snapshot.session;
        let matviews = snapshot::with_role_path(session, catalog::matviews(session, filter)).await?;
        let (all_roles, large, sequence_names) = tokio::try_join!(
            catalog::roles(session),
            catalog::large_objects(session),
            catalog::sequence_names(session)
        )?;
        progress.event(Event::Planned { tables: plan.streams.len() as u64, bytes: plan.bytes() });
        progress.event(Event::Finished(Phase::Plan, plan_begun.elapsed()));

        // Dump: pg_dump, the reading connections, and the restore that follows them.
        let dump_begun = Instant::now();
        progress.event(Event::Started(Phase::Dump));
        let Address { folder, id } = Address::new(&source.database, config.kind, taken_at);
        with(traces, |t| t.folder = Some(folder.clone()));
        let (done, mut tables_done) = mpsc::unbounded_channel::<Done>();
        let (tasks, task_queue) = mpsc::unbounded_channel::<Batch>();
        let in_flight = InFlight::new(IN_FLIGHT);
        let mut pieces = Vec::new();
        for table in &plan.streams {
            let path = format!("archive/{TABLE_FILE}{}.dat{}", table.relation.oid, compression.suffix());
            let sink = Sink::new(
                store.clone(),
                &folder,
                path,
                compression,
                table.size.bytes,
                in_flight.clone(),
                progress.clone(),
            );
            let sink = Arc::new(sink);
            with(traces, |t| t.sinks.push(sink.clone()));
            let job = TableJob::new(table_of(&table.relation, TakenBy::Streams, false), Some(sink), table.chunks.len());
            let planned = table.size.bytes / table.chunks.len().max(1) as u64;
            let task = |pages: &Option<copy::Pages>| Task { job: job.clone(), pages: *pages, planned };
            pieces.extend(table.chunks.iter().map(task));
        }
        for batch in copy::batches(pieces, |task| task.planned) {
            // The queue's other end is held by the engine below.
            let _ = tasks.send(batch);
        }
        let (fresh, fresh_queue) = mpsc::channel(FRESH);
        let engine = Arc::new(Engine {
            target: target.clone(),
            major: source.major,
            encoding: source.encoding.clone(),
            snapshot: snapshot.id.clone(),
            jobs,
            compression,
            rate: config.max_rate.map(|rate| Arc::new(Rate::new(rate))),
            progress: progress.clone(),
            tracker: tracker.clone(),
            done,
            fresh: proves.then_some(fresh),
        });
        let reading = AbortOnDropHandle::new(tracker.spawn(worker::run(engine, snapshot.session, task_queue)));
        let reading = async { reading.await.map_err(|e| Error::new(Kind::Database, "reading stopped").because(e))? };

        let prover = Prover {
            store: store.clone(),
            folder: folder.clone(),
            tools: tools.clone(),
            level: config.verify,
            scratch: scratch_path.clone(),
            jobs,
            progress: progress.clone(),
        };
        let (begin, begun_by_dump) = tokio::sync::oneshot::channel::<Begin>();
        let (up, is_up) = tokio::sync::oneshot::channel::<()>();
        let starting = async {
            self.server_is_up().await?;
            // Whoever restores may have failed already.
            let _ = up.send(());
            Ok::<_, Error>(())
        };
        let (to_restore, restore_queue) = mpsc::unbounded_channel::<Stored>();
        let restoring = proves.then(|| {
            AbortOnDropHandle::new(tracker.spawn(follow(
                prover.clone(),
                traces.clone(),
                begun_by_dump,
                is_up,
                Incoming { tables: restore_queue, fresh: Some(fresh_queue) },
            )))
        });

        let granted = granted_extensions(&config.filter, &self.extensions);
        let dumping = async {
            let dumped = pg_dump.await.map_err(|e| Error::new(Kind::Tool, "watching pg_dump stopped").because(e))??;
            dumped.check_against(&plan)?;
            for job in fingerprint_only(&dumped, &mut plan, &relations) {
                let _ = tasks.send(vec![Task { job, pages: None, planned: 0 }]);
            }
            drop(tasks);
            let left_out = left_out_by_pg_dump(&dumped, &plan, &sizes, filter);
            plan.left_out.extend(left_out);
            if !granted.is_empty() {
                let names = granted.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", ");
                plan.left_out.push(format!(
                    "extensions ({names}): pg_dump takes none when schemas or tables are named; create them before a restore"
                ));
            }
            let own = store_own_files(store, &folder, &dumped, &plan).await?;
            let roles = roles_named(&dumped.toc, all_roles);
            let _ = begin.send(Begin {
                source: source.clone(),
                roles: roles.clone(),
                single_tables: !config.filter.tables.is_empty(),
                extensions: granted.clone(),
                own: own.clone(),
            });
            let dumped = Arc::new(dumped);
            let reader = dumped.clone();
            let contents = tokio::task::spawn_blocking(move || reader.large_object_contents()).await;
            let contents =
                contents.map_err(|e| Error::new(Kind::Io, "reading pg_dump's files stopped").because(e))??;
            let large =
                pg_dump::large_objects(if filter.takes_large_objects() { large } else { Vec::new() }, contents)?;
            Ok::<_, Error>((dumped, own, roles, large))
        };
        // Far from the server it takes as long as a small dump.
        let globals = globals(tools, target, store, &folder);
        let collecting = async {
            let (mut tables, mut files): (Vec<Table>, Vec<File>) = (Vec::new(), Vec::new());
            while let Some(Done { table, file }) = tables_done.recv().await {
                if let Some(file) = &file {
                    // The restore may have failed already; its error is told when its turn comes.
                    let _ = to_restore.send((Arc::new(table.clone()), Arc::new(file.clone())));
                }
                files.extend(file);
                tables.push(table);
            }
            drop(to_restore);
            Ok::<_, Error>((tables, files))
        };
        let ((), (dumped, own, roles, large_objects), (tables, files), globals, ()) =
            tokio::try_join!(reading, dumping, collecting, globals, starting)?;
        // Now there is room for another connection.
        let globals = if globals.is_ok() { globals } else { self::globals(tools, target, store, &folder).await? };
        progress.event(Event::Finished(Phase::Dump, dump_begun.elapsed()));
        Ok(Taken {
            id,
            folder,
            taken_at,
            source,
            compression,
            plan,
            dumped,
            sequence_names,
            matviews,
            roles,
            large_objects,
            globals,
            own,
            tables,
            files,
            prover,
            restoring,
        })
    }

    /// Writes the manifest, which makes it a backup, and proves it.
    async fn commit(self, taken: Taken, begun: Instant) -> Result<()> {
        let Ground { config, store, jobs, tools, progress, traces, extensions, .. } = self;
        let Taken {
            id,
            folder,
            taken_at,
            source,
            compression,
            mut plan,
            dumped,
            sequence_names,
            matviews,
            roles,
            large_objects,
            globals,
            own,
            mut tables,
            mut files,
            prover,
            restoring,
        } = taken;
        // Commit.
        let commit_begun = Instant::now();
        progress.event(Event::Started(Phase::Commit));
        complete(&plan, &tables)?;
        files.extend(own);
        let mut left_out = plan.left_out.clone();
        match globals {
            Ok(file) => files.push(file),
            Err(why) => {
                progress.event(Event::Notice(&why));
                left_out.push(why);
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        tables.sort_by(|a, b| (&a.schema, &a.name, a.oid).cmp(&(&b.schema, &b.name, b.oid)));
        let totals = Totals {
            tables: tables.len() as u64,
            rows: tables.iter().map(|t| t.rows).sum(),
            bytes: tables.iter().map(|t| t.bytes).sum::<u64>() + large_objects.iter().map(|o| o.size).sum::<u64>(),
            stored_bytes: files.iter().map(|f| f.size).sum(),
        };
        let mut timings: BTreeMap<String, f64> =
            progress.kept().phases.iter().map(|(p, t)| (p.name().to_owned(), t.as_secs_f64())).collect();
        timings.insert("total".into(), begun.elapsed().as_secs_f64());
        let (sequences, unproven) = dumped.sequences(&sequence_names)?;
        plan.unproven.extend(unproven);
        let manifest = Manifest {
            format: FORMAT_VERSION,
            id,
            kind: config.kind,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            taken_at: stamp(taken_at),
            stored_at: now(),
            source,
            context: config.context.clone(),
            options: Options {
                jobs: jobs as u32,
                compression: compression.to_string(),
                filter: config.filter.clone(),
                verify: config.verify,
                pg_dump: tools.version.clone(),
            },
            left_out,
            files,
            sequences,
            schema_digest: schema::digest(&dumped.toc),
            tables,
            large_objects,
            matviews,
            extensions,
            roles,
            totals,
            timings,
        };
        let manifest_key = format!("{folder}manifest.json");
        let body = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| Error::new(Kind::Archive, "cannot write the manifest").because(e))?;
        store.put_new(&manifest_key, body.into()).await.map_err(|e| e.context("the manifest was not stored"))?;
        with(&traces, |t| {
            t.committed = Some(StoredBackup {
                uri: store.uri(&folder),
                manifest_uri: store.uri(&manifest_key),
                proof_uri: None,
                manifest: manifest.clone(),
            });
        });
        progress.event(Event::Finished(Phase::Commit, commit_begun.elapsed()));

        match anomalies::beside(&store, &manifest, &config.anomaly).await {
            Ok(Beside::First) => {}
            Ok(Beside::Compared(lines)) => with(&traces, |t| t.anomalies = lines),
            Ok(Beside::Other(id)) => progress.event(Event::Notice(&format!(
                "not compared with the backup before, {id}: its filter was another one"
            ))),
            Err(e) => progress.event(Event::Warning(&e.context("not compared with the backup before").one_line())),
        }
        prove(config, &prover, restoring, &manifest, &plan, &traces).await
    }
}

/// Begins the restore as soon as pg_dump is through, and goes on as tables arrive. Takes the server out of the traces while it works with
/// it; a cancelled run drops it here, which removes it.
async fn follow(
    prover: Prover,
    traces: Shared,
    begin: tokio::sync::oneshot::Receiver<Begin>,
    is_up: tokio::sync::oneshot::Receiver<()>,
    incoming: Incoming,
) -> Result<Half> {
    let begin = begin.await.map_err(|_| Error::new(Kind::Interrupted, "the dump failed"))?;
    is_up.await.map_err(|_| Error::new(Kind::Interrupted, "the throwaway server did not start"))?;
    let mut held = Held::take(&traces)?;
    prover.restore(held.server()?, begin, incoming).await
}

/// The server, borrowed from the traces and put back when dropped, so that whoever cleans up finds it.
struct Held(Shared, Option<Server>);

impl Held {
    fn take(traces: &Shared) -> Result<Held> {
        let server = with(traces, |t| t.server.take());
        Ok(Held(traces.clone(), server))
    }

    fn server(&mut self) -> Result<&mut Server> {
        self.1.as_mut().ok_or_else(|| Error::new(Kind::Throwaway, "the throwaway server is gone"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let server = self.1.take();
        with(&self.0, |t| t.server = server);
    }
}

/// Finishes the proof and stores its record. Whatever goes wrong here, the backup is stored.
async fn prove(
    config: &BackupConfig,
    prover: &Prover,
    restoring: Option<AbortOnDropHandle<Result<Half>>>,
    manifest: &Manifest,
    plan: &Plan,
    traces: &Shared,
) -> Result<()> {
    let begun = now();
    let proof = match (config.verify, restoring) {
        (VerifyLevel::None, _) => return Ok(()),
        (_, None) => prover.archive_only(manifest).await,
        (_, Some(restoring)) => {
            let half =
                restoring.await.map_err(|e| Error::new(Kind::Throwaway, "restoring stopped").because(e)).flatten();
            match half {
                Ok(half) => prover.compare(Held::take(traces)?.server()?, manifest, half).await,
                Err(e) => Err(e),
            }
        }
    };
    // A proof that could not be finished is a failed proof, with its reason.
    let (mut proof, broken) = match proof {
        Ok(proof) => (proof, None),
        Err(e) => (unfinished(manifest, config.verify, begun, &e), Some(e)),
    };
    proof.unproven.extend(plan.unproven.iter().cloned());
    let key = format!("{}proofs/{}.json", prover.folder, proof.started_at.replace([':', '-'], ""));
    let body = serde_json::to_vec_pretty(&proof)
        .map_err(|e| Error::new(Kind::Archive, "cannot write the proof record").because(e))?;
    let stored = prover.store.put_new(&key, body.into()).await;
    with(traces, |t| {
        t.proof = Some(proof);
        if let (Some(committed), Ok(())) = (&mut t.committed, &stored) {
            committed.proof_uri = Some(prover.store.uri(&key));
        }
    });
    if let Err(e) = stored {
        prover.progress.event(Event::Warning(&e.context("the proof record was not stored").one_line()));
    }
    match broken {
        Some(e) => Err(e.context("the backup is stored, but its proof could not be finished")),
        None => Ok(()),
    }
}

fn unfinished(manifest: &Manifest, level: VerifyLevel, started_at: String, e: &Error) -> Proof {
    Proof {
        format: FORMAT_VERSION,
        backup_id: manifest.id.clone(),
        tool_version: env!("CARGO_PKG_VERSION").into(),
        level,
        passed: false,
        started_at,
        finished_at: now(),
        server: None,
        compared: Default::default(),
        differences: vec![format!("the proof could not be finished: {}", e.one_line())],
        unproven: Vec::new(),
        timings: BTreeMap::new(),
    }
}

fn table_of(relation: &Relation, taken_by: TakenBy, with_children: bool) -> Table {
    Table {
        schema: relation.schema.clone(),
        name: relation.name.clone(),
        oid: relation.oid,
        columns: relation.columns.clone(),
        condition: relation.condition.clone(),
        with_children,
        taken_by,
        rows: 0,
        bytes: 0,
        fingerprint: String::new(),
        file: None,
        chunks: Vec::new(),
        terminator: None,
    }
}

/// Tables whose rows pg_dump wrote: read once more in the same snapshot for their fingerprint. Leaves that pg_dump loads through their
/// root may change places in a restore, so their root is read, if all that lies below it was taken; else it is said to be unproven.
fn fingerprint_only(dumped: &Dumped, plan: &mut Plan, relations: &[Relation]) -> Vec<Arc<TableJob>> {
    let by_oid: HashMap<u32, &Relation> = relations.iter().map(|r| (r.oid, r)).collect();
    let written = dumped.rows_written();
    let mut wanted: BTreeSet<(u32, bool)> = BTreeSet::new();
    let mut unproven = BTreeSet::new();
    for relation in plan.pg_dump.iter().filter(|r| written.contains(&r.oid) && r.utf8) {
        let Some(root) = relation.root.filter(|_| relation.load_via_root) else {
            wanted.insert((relation.oid, false));
            continue;
        };
        let leaves = relations.iter().filter(|r| r.plain && r.root == Some(root));
        let all_taken = leaves.into_iter().all(|r| plan.expected.contains(&r.oid));
        match by_oid.get(&root).filter(|r| all_taken && !r.has_foreign) {
            Some(_) => {
                wanted.insert((root, true));
            }
            None => {
                unproven.insert(format!(
                    "rows of {}: pg_dump loads them through a root that was not taken whole",
                    relation.label()
                ));
            }
        }
    }
    plan.unproven.extend(unproven);
    let found = wanted.into_iter().filter_map(|(oid, children)| Some((by_oid.get(&oid)?, children)));
    found.map(|(r, children)| TableJob::new(table_of(r, TakenBy::PgDump, children), None, 1)).collect()
}

/// What pg_dump left out on its own account, in words.
fn left_out_by_pg_dump(
    dumped: &Dumped,
    plan: &Plan,
    sizes: &HashMap<u32, catalog::Size>,
    filter: &Filter,
) -> Vec<String> {
    let written = dumped.rows_written();
    let has_rows = |r: &&Relation| sizes.get(&r.oid).is_some_and(|s| s.pages > 0);
    let members = plan.pg_dump.iter().filter(|r| r.extension_member && !written.contains(&r.oid)).filter(has_rows);
    let mut lines: Vec<String> =
        members.map(|r| format!("rows of {}: pg_dump leaves them to CREATE EXTENSION", r.label())).collect();
    if !filter.schema_only {
        let entries = &dumped.toc.entries;
        let set: BTreeSet<_> =
            entries.iter().filter(|e| e.kind() == "SEQUENCE SET").map(|e| (&e.namespace, &e.tag)).collect();
        let without =
            |e: &&crate::archive::toc::Entry| e.kind() == "SEQUENCE" && !set.contains(&(&e.namespace, &e.tag));
        lines.extend(
            entries.iter().filter(without).map(|e| format!("value of sequence {}: left out by the filter", e.name())),
        );
    }
    lines
}

/// A backup without any table is hardly ever what was meant. A pattern that names nothing is refused by pg_dump itself.
fn refuse_empty(config: &BackupConfig, relations: &[Relation]) -> Result<()> {
    if config.anomaly.allow_empty {
        return Ok(());
    }
    let database = &config.source.dbname;
    let own = relations.iter().filter(|r| !r.extension_member);
    match (own.clone().count(), own.filter(|r| r.taken).count()) {
        (0, _) => Err(Error::new(Kind::Refused, format!("database {database} holds no table at all"))
            .hint("check the database's name in the URL; if it is right, give --allow-empty")),
        (n, 0) if !config.filter.names_a_part() => {
            let tables = if n == 1 { "the only table".to_owned() } else { format!("all {n} tables") };
            let message = format!("the filter leaves out {tables} of database {database}");
            Err(Error::new(Kind::Refused, message)
                .hint("check exclude-schemas and exclude-tables; if they are right, give --allow-empty"))
        }
        _ => Ok(()),
    }
}

/// Every table that was planned must have come back.
fn complete(plan: &Plan, tables: &[Table]) -> Result<()> {
    let there: BTreeSet<u32> = tables.iter().map(|t| t.oid).collect();
    match plan.streams.iter().find(|t| !there.contains(&t.relation.oid)) {
        Some(missing) => {
            Err(Error::new(Kind::Archive, format!("table {} was planned but not stored", missing.relation.label())))
        }
        None => Ok(()),
    }
}

/// Stores the spliced `toc.dat` and what pg_dump wrote besides.
async fn store_own_files(store: &Arc<dyn Store>, folder: &str, dumped: &Dumped, plan: &Plan) -> Result<Vec<File>> {
    let mut toc: Toc = dumped.toc.clone();
    let data: Vec<TableData> = plan
        .streams
        .iter()
        .map(|t| TableData {
            oid: t.relation.oid,
            copy_stmt: t.relation.copy_from(),
            filename: format!("{TABLE_FILE}{}.dat", t.relation.oid),
        })
        .collect();
    toc.add_table_data(&data)?;
    let mut files = vec![put(store, folder, "archive/toc.dat", toc.to_bytes().into()).await?];
    for name in &dumped.files {
        files.push(put_file(store, folder, &format!("archive/{name}"), &dumped.folder.join(name)).await?);
    }
    Ok(files)
}

async fn put(store: &Arc<dyn Store>, folder: &str, path: &str, body: Bytes) -> Result<File> {
    let file = File { path: path.into(), size: body.len() as u64, sha256: hex::encode(Sha256::digest(&body)) };
    store.put(&format!("{folder}{path}"), body).await?;
    Ok(file)
}

/// Stores a local file of any size with one part of it in memory.
async fn put_file(store: &Arc<dyn Store>, folder: &str, path: &str, from: &Path) -> Result<File> {
    let failed = || error::io(format!("cannot read {}", from.display()));
    let mut input = tokio::fs::File::open(from).await.map_err(failed())?;
    let key = format!("{folder}{path}");
    let (mut sha, mut size, mut upload, mut number) = (Sha256::new(), 0_u64, None, 0);
    loop {
        let mut part = Vec::new();
        let read = (&mut input).take(FILE_PART as u64).read_to_end(&mut part).await.map_err(failed())?;
        let last = read < FILE_PART;
        sha.update(&part);
        if upload.is_none() && last {
            store.put(&key, part.into()).await?;
            return Ok(File { path: path.into(), size: read as u64, sha256: hex::encode(sha.finalize()) });
        }
        let upload = match &mut upload {
            Some(upload) => upload,
            none => none.insert(store.create_upload(&key).await?),
        };
        if read > 0 {
            number += 1;
            upload.put_part(number, size, part.into()).await?;
            size += read as u64;
        }
        if last {
            upload.complete().await?;
            return Ok(File { path: path.into(), size, sha256: hex::encode(sha.finalize()) });
        }
    }
}

fn roles_named(toc: &Toc, all: Vec<Role>) -> Vec<Role> {
    let names: Vec<String> = all.iter().map(|r| r.name.clone()).collect();
    let named: BTreeSet<String> = schema::role_names(toc, &names).into_iter().collect();
    all.into_iter().filter(|r| named.contains(&r.name)).collect()
}

/// Stores `globals.sql`: roles without passwords, and tablespaces. A role that may not read them is told so; that is no error.
async fn globals(tools: &Tools, target: &Target, store: &Arc<dyn Store>, folder: &str) -> Result<Result<File, String>> {
    let Some(pg_dumpall) = &tools.pg_dumpall else {
        return Ok(Err("globals.sql: pg_dumpall is not installed".into()));
    };
    let dbname = format!("dbname={}", conninfo::quoted(&target.dbname));
    let run =
        Run::new(pg_dumpall).args(["--globals-only", "--no-role-passwords", "--dbname"]).arg(dbname).target(target);
    match run.output().await {
        Ok(output) => Ok(Ok(put(store, folder, "globals.sql", output.stdout.into()).await?)),
        Err(e) => Ok(Err(format!("globals.sql: the roles of the server could not be read ({})", e.one_line()))),
    }
}

/// What a backup would do. Writes nothing and starts no server.
pub async fn plan(config: &BackupConfig, progress: Arc<dyn Progress>) -> Result<PlanReport> {
    let examined = preflight::examine(config, Reach::Look, &*progress).await;
    let Some(ready) = examined.ready else { return Err(preflight::refusal(&examined.checks)) };
    let Ready { session, source, extensions, tools, scratch, jobs, .. } = ready;
    let planned = async {
        let snapshot = snapshot::take(session, &config.filter, &*progress).await?;
        refuse_empty(config, &snapshot.relations)?;
        Ok::<_, Error>(plan::plan(&snapshot.relations, &snapshot.sizes, source.major, source.standby))
    }
    .await;
    scratch.remove()?;
    let plan = planned?;
    let folder = Address::new(&source.database, config.kind, OffsetDateTime::now_utc()).folder;
    let kept = plan.pg_dump.iter().filter(|r| !r.extension_member).map(|r| (r, 0, -1, 1, TakenBy::PgDump));
    let ours = plan.streams.iter();
    let ours = ours.map(|t| (&t.relation, t.size.bytes, t.size.rows_estimate, t.chunks.len() as u64, TakenBy::Streams));
    let tables = ours.chain(kept).map(|(r, bytes, rows_estimate, chunks, taken_by)| PlanTable {
        schema: r.schema.clone(),
        name: r.name.clone(),
        bytes,
        rows_estimate,
        chunks,
        taken_by,
    });
    let mut programs = vec![("pg_dump", Some(&tools.pg_dump)), ("pg_restore", Some(&tools.pg_restore))];
    programs.extend([("initdb", tools.initdb.as_ref()), ("postgres", tools.postgres.as_ref())]);
    Ok(PlanReport {
        database: source.database.clone(),
        source: source_label(config),
        server_version: source.server_version.clone(),
        uri: format!("{}/{folder}", destination_label(&config.destination).trim_end_matches('/')),
        tools: programs.into_iter().filter_map(|(n, p)| Some((n.to_owned(), p?.display().to_string()))).collect(),
        compression: config.compression.for_major(source.major).to_string(),
        jobs: jobs as u32,
        tables: tables.collect(),
        extensions,
        left_out: plan.left_out,
        unproven: plan.unproven,
        checks: examined.checks,
    })
}
