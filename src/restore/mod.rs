//! From a stored backup, or a file that pg_dump wrote, into a target: plan, check, restore, compare, and only then replace.
//!
//! Nothing that stands in the target is touched before everything stored was checked, and a database is replaced only by one that was
//! restored beside it and compared: whoever kills this program at any moment finds the old database as it was.

mod config;
pub mod part;
mod plan;
pub mod target;
mod tell;

pub use config::{Owners, Place, RestoreConfig};

use crate::{
    archive::{
        compression::CompressionChoice,
        schema,
        toc::{Toc, lossy},
    },
    backup::{self, BackupConfig},
    clock::now,
    dumpfile::{self, DumpFile, Format},
    error::{self, Error, Kind, Result},
    inventory::anomalies::Anomaly,
    postgres::{
        answer, connect,
        conninfo::Target,
        quote::{literal, qualified, quote},
        tools::{self, Tools},
    },
    progress::{Event, Phase, Progress},
    report::{
        Outcome,
        format::bytes,
        page::{Page, Verdict},
    },
    scratch::{self, Scratch},
    store::{self, Store},
    vault::{
        BackupKind, Filter, Manifest, VerifyLevel, Which,
        find::{find, scan},
        manifest::{File, Source},
        read::{last_proof, manifest_in},
    },
    verify::{
        self, cluster,
        compare::{self, Comparison},
        granted_extensions, readback,
        restore::{Granted, Part, Restore, Restored, check_entries, harmless, of_the_archive, schemas_of},
        streams::{AHEAD, AHEAD_BYTES},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use plan::{Plan, Way, What};
use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use target::{Facts, MARK, Maintenance};
use time::OffsetDateTime;
use tokio::{io::AsyncWriteExt, sync::mpsc, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long cleaning up behind a failure may take, and behind a signal (the runner kills after about 10 s).
const CLEAN_UP: Duration = Duration::from_secs(120);
const CLEAN_UP_INTERRUPTED: Duration = Duration::from_secs(6);

/// Small stored files that are kept in memory between their check and their restore.
const KEPT_BYTES: u64 = 32 << 20;

/// Hands events on, and keeps what the page needs of them.
struct Recorder {
    inner: Arc<dyn Progress>,
    kept: Mutex<(Phase, Vec<String>)>,
}

impl Progress for Recorder {
    fn event(&self, event: Event<'_>) {
        {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Event::Started(phase) => kept.0 = phase,
                Event::Warning(text) => kept.1.push(text.into()),
                _ => {}
            }
        }
        self.inner.event(event);
    }
}

/// How what a failed restore did to the target is undone.
enum Undo {
    /// This database is ours: drop it.
    Drop(String),
    /// The target was empty: make it so again.
    Wipe(Target),
    /// These tables were empty: make them so again.
    Truncate(Target, Vec<String>),
}

/// What must be put right when a run ends early, and what its page says in any case.
#[derive(Default)]
struct Traces {
    maintenance: Option<Arc<Maintenance>>,
    undo: Vec<Undo>,
    scratch: Option<Scratch>,
    facts: Vec<(&'static str, String)>,
    backup_id: Option<String>,
    /// The safety backup, which cleans up behind itself.
    tasks: TaskTracker,
}

type Shared = Arc<Mutex<Traces>>;

fn with<T>(traces: &Shared, f: impl FnOnce(&mut Traces) -> T) -> T {
    f(&mut traces.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Restores, and tells of it. Cleans up behind itself, also when cancelled: then the target is as it was.
pub async fn run(config: &RestoreConfig, progress: Arc<dyn Progress>, cancel: CancellationToken) -> Page {
    let begun = Instant::now();
    let recorder = Arc::new(Recorder { inner: progress, kept: Mutex::new((Phase::Preflight, Vec::new())) });
    let traces: Shared = Arc::default();
    let run = Run { config, progress: recorder.clone(), traces: traces.clone(), begun, cancel: cancel.clone() };
    let worked = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            Err(Error::new(Kind::Interrupted, "interrupted by a signal").hint("the target is as it was: run it again"))
        }
        worked = run.work() => worked,
    };
    let limit = if cancel.is_cancelled() { CLEAN_UP_INTERRUPTED } else { CLEAN_UP };
    if tokio::time::timeout(limit, clean_up(&traces, worked.is_err(), &*recorder)).await.is_err() {
        recorder.event(Event::Warning(
            "cleaning up took too long: a database may be left that the next restore names as unfinished",
        ));
    }
    if let Some(Err(e)) = with(&traces, |t| t.scratch.take()).map(Scratch::remove) {
        recorder.event(Event::Warning(&e.one_line()));
    }
    let (phase, warnings) = std::mem::replace(
        &mut *recorder.kept.lock().unwrap_or_else(PoisonError::into_inner),
        (Phase::Preflight, Vec::new()),
    );
    let mut page = match worked {
        Ok(page) => page,
        Err(error) => {
            let mut page = Page::failed("restore", phase.name(), &error);
            let (facts, id) = with(&traces, |t| (t.facts.clone(), t.backup_id.clone()));
            page.facts = facts;
            page.outputs.extend(id.map(|id| ("backup-id", id)));
            page.outputs.push(("verified", "false".into()));
            page
        }
    };
    page.outputs.push(("duration-seconds", format!("{:.0}", begun.elapsed().as_secs_f64())));
    page.warnings.extend(warnings);
    page
}

/// Undoes what a failed run did to the target.
async fn clean_up(traces: &Shared, failed: bool, progress: &dyn Progress) {
    let tasks = with(traces, |t| t.tasks.clone());
    tasks.close();
    tasks.wait().await;
    let (maintenance, undo) = with(traces, |t| (t.maintenance.take(), std::mem::take(&mut t.undo)));
    if !failed {
        return;
    }
    for step in undo.into_iter().rev() {
        let undone = match (&step, &maintenance) {
            (Undo::Drop(name), Some(maintenance)) => maintenance.remove(name).await,
            (Undo::Drop(_), None) => Ok(()),
            (Undo::Wipe(target), _) => target::wipe(target).await,
            (Undo::Truncate(target, tables), _) => truncate(target, tables).await,
        };
        if let Err(e) = undone {
            let what = match &step {
                Undo::Drop(name) => format!("database {name}, which this restore made, is left"),
                Undo::Wipe(target) => format!("what this restore made in {} is left", target.dbname),
                Undo::Truncate(target, _) => format!("rows that this restore wrote into {} are left", target.dbname),
            };
            progress.event(Event::Warning(&format!("{what}: {}", e.one_line())));
        }
    }
}

async fn truncate(target: &Target, tables: &[String]) -> Result<()> {
    let session = connect::connect(target, "savepoint restore").await?;
    for table in tables {
        // TRUNCATE refuses a table that a foreign key points to.
        let emptied = session.batch_execute(&format!("DELETE FROM ONLY {table}")).await;
        emptied.map_err(|e| answer::error(&format!("cannot empty table {table} again"), e))?;
    }
    Ok(())
}

/// What is restored.
enum Archive {
    /// A backup of ours.
    Stored(Box<Backup>),
    /// What pg_dump wrote, read to its end.
    File(Box<DumpFile>),
}

/// A stored backup that may be restored.
struct Backup {
    store: Arc<dyn Store>,
    folder: String,
    manifest: Manifest,
    proof: String,
    toc: Toc,
    /// Small files that the check has read, by their paths.
    read: Arc<HashMap<String, Bytes>>,
}

/// Everything that a restore stands on once nothing speaks against it.
struct Ground {
    target: Target,
    maintenance: Arc<Maintenance>,
    facts: Facts,
    what: What,
    plan: Plan,
    tools: Tools,
    /// Tables with rows, as SQL names them.
    tables: Vec<String>,
    notices: Vec<String>,
    unproven: Vec<String>,
    /// `SET`s that every session of the load begins with.
    settings: Vec<(&'static str, String)>,
}

struct Run<'a> {
    config: &'a RestoreConfig,
    progress: Arc<Recorder>,
    traces: Shared,
    begun: Instant,
    cancel: CancellationToken,
}

impl Run<'_> {
    async fn work(&self) -> Result<Page> {
        self.progress.event(Event::Started(Phase::Preflight));
        let scratch = Scratch::create(self.config.engine.scratch_dir.as_deref())?;
        let folder = scratch.path().to_owned();
        with(&self.traces, |t| t.scratch = Some(scratch));
        for line in Scratch::sweep(self.config.engine.scratch_dir.as_deref()) {
            self.progress.event(Event::Notice(&line));
        }
        let mut archive = self.archive(&folder).await?;
        let (ground, stored) = self.plan(&archive).await?;
        if self.config.dry_run {
            return Ok(self.dry(&ground));
        }
        if let Archive::Stored(backup) = &mut archive {
            let begun = Instant::now();
            self.progress.event(Event::Started(Phase::Preflight));
            backup.read = Arc::new(self.check(backup).await?);
            self.progress.event(Event::Finished(Phase::Preflight, begun.elapsed()));
        }
        let safety = if ground.plan.safety { Some(self.safety(&ground).await?) } else { None };
        let (into, dbname) = self.make_room(&ground, &archive).await?;
        let begun = Instant::now();
        let (found, load_seconds) = match (&archive, stored) {
            (Archive::Stored(backup), Some((part, manifest))) => {
                self.stored(&ground, backup, part, &manifest, &into, &folder, &dbname).await?
            }
            (Archive::File(file), _) => {
                (self.file(&ground, file, &into, &folder).await?, begun.elapsed().as_secs_f64())
            }
            (Archive::Stored(_), None) => return Err(Error::new(Kind::Archive, "the backup has no manifest")),
        };
        if !self.config.part.schema_only {
            self.analyze(&into).await;
        }
        ground.maintenance.flush().await?;
        let mut page = self.page(&ground, &found, &dbname, load_seconds, safety.as_deref());
        // From here on there is nothing to undo: what was restored stays, equal or not.
        if found.differences.is_empty() {
            self.put_into_place(&ground, &dbname, &mut page).await?;
        } else {
            self.keep_for_study(&ground, &dbname, &mut page).await?;
        }
        Ok(page)
    }

    /// Restores a backup of ours and compares it with its manifest; also the seconds that the first of it took.
    #[allow(clippy::too_many_arguments, reason = "each is a thing of its own")]
    async fn stored(
        &self,
        ground: &Ground,
        backup: &Backup,
        part: Part,
        manifest: &Manifest,
        into: &Target,
        folder: &Path,
        dbname: &str,
    ) -> Result<(Comparison, f64)> {
        let restore = Restore {
            store: backup.store.clone(),
            folder: backup.folder.clone(),
            tools: ground.tools.clone(),
            major: ground.facts.major,
            encoding: manifest.source.encoding.clone(),
            target: into.clone(),
            part,
            read: backup.read.clone(),
            files: folder.join("restore"),
            jobs: self.config.engine.jobs,
            progress: self.progress.clone(),
        };
        let granted = granted(manifest, &backup.toc);
        let begun = Instant::now();
        let restored = self.load(&restore, &granted, backup, manifest).await?;
        let load_seconds = begun.elapsed().as_secs_f64();
        let found = self.compare(ground, &restore, &granted, manifest, restored, folder, dbname).await?;
        Ok((found, load_seconds))
    }

    /// Restores what pg_dump wrote, and counts the rows.
    async fn file(&self, ground: &Ground, file: &DumpFile, into: &Target, folder: &Path) -> Result<Comparison> {
        self.progress.event(Event::Started(Phase::Restore));
        let begun = Instant::now();
        let problems = file.restore(&ground.tools, into, folder, &self.options(), self.progress.clone()).await?;
        self.progress.event(Event::Finished(Phase::Restore, begun.elapsed()));
        let (excused, problems): (Vec<_>, Vec<_>) = problems.into_iter().partition(|p| harmless(p));
        for line in excused {
            self.progress.event(Event::Warning(&format!("only a superuser may restore this: {line}")));
        }
        let mut found = Comparison { differences: problems, ..Comparison::default() };
        found.unproven.push("content: a file without a manifest says how many rows a table has, and no more".into());
        let config = self.config;
        let counts = matches!(config.verify, VerifyLevel::Content | VerifyLevel::Rows);
        if counts && !config.part.names_a_part() && !config.part.schema_only {
            let counted = file.count(into).await?;
            (found.compared.tables, found.compared.rows) = (counted.tables, counted.rows);
            found.differences.extend(counted.differences);
            found.unproven.extend(counted.unproven);
        }
        Ok(found)
    }

    fn options(&self) -> dumpfile::Options {
        let config = self.config;
        dumpfile::Options {
            jobs: config.engine.jobs,
            no_owner: config.owners == Owners::Skip,
            schema_only: config.part.schema_only,
            data_only: config.data_only,
            schemas: config.part.schemas.clone(),
            tables: config.part.tables.clone(),
        }
    }

    /// What is meant, looked at as far as must be before anything is decided.
    async fn archive(&self, folder: &Path) -> Result<Archive> {
        if let Which::File(path) = &self.config.pick.which {
            return self.examined(path).await;
        }
        self.backup(folder).await
    }

    async fn examined(&self, path: &Path) -> Result<Archive> {
        let file = dumpfile::examine(path, None, &*self.progress).await?;
        if file.format == Format::Plain
            && self.options() != (dumpfile::Options { jobs: self.options().jobs, ..Default::default() })
        {
            return Err(Error::new(Kind::Usage, format!("{}: a plain dump is a script and runs as a whole", path.display()))
                .hint("leave out schemas, tables, schema-only, data-only and no-owner; --create-roles makes roles that are missing"));
        }
        for line in &file.warnings {
            self.progress.event(Event::Warning(line));
        }
        Ok(Archive::File(Box::new(file)))
    }

    /// Finds the backup, and refuses one that is not proven.
    async fn backup(&self, scratch: &Path) -> Result<Archive> {
        let destination = self.config.destination.as_ref();
        let destination = destination.ok_or_else(|| Error::new(Kind::Usage, "option destination: not set"))?;
        let store = store::open(destination).await?;
        let found = match find(&store, &self.config.pick).await {
            Err(e) if e.kind() == Kind::NotFound => return self.without_manifest(&store, e, scratch).await,
            found => found?,
        };
        let stored = found.into_iter().next_back().ok_or_else(|| Error::new(Kind::NotFound, "no backup"))?;
        with(&self.traces, |t| {
            t.backup_id = Some(stored.id.clone());
            t.facts.push(("backup", stored.id.clone()));
        });
        let manifest = manifest_in(&store, &stored.folder).await?;
        let proof = last_proof(&store, &stored).await?;
        let proof = plan::gate(&manifest, proof.as_ref(), self.config.force_unproven)?;
        let file = manifest.files.iter().find(|f| f.path == "archive/toc.dat");
        let file = file.ok_or_else(|| Error::new(Kind::Archive, "the manifest names no archive/toc.dat"))?;
        let local = scratch.join("toc.dat");
        readback::whole(&store, &stored.folder, file, Some(&local)).await?;
        let toc = verify::restore::read_toc(&local)?;
        Ok(Archive::Stored(Box::new(Backup {
            store,
            folder: stored.folder,
            manifest,
            proof,
            toc,
            read: Arc::default(),
        })))
    }

    /// A folder that an id names but that holds no manifest is told apart from nothing at all; what is left of its archive is restored
    /// as any other folder of pg_dump's when that is asked for.
    async fn without_manifest(&self, store: &Arc<dyn Store>, not_found: Error, scratch: &Path) -> Result<Archive> {
        let Which::Id(id) = &self.config.pick.which else { return Err(not_found) };
        let Some(stored) = scan(store, None).await?.into_iter().find(|s| s.id == *id && !s.committed()) else {
            return Err(not_found);
        };
        if !self.config.force_unproven {
            return Err(Error::new(
                Kind::Refused,
                format!("backup {id} has no manifest.json: its run was broken off or is still going on, or somebody deleted it"),
            )
            .hint(
                "choose another one: savepoint list shows them; --force-unproven restores what is left of its archive, as far as \
                 pg_restore can",
            ));
        }
        with(&self.traces, |t| t.backup_id = Some(id.clone()));
        let prefix = format!("{}archive/", stored.folder);
        let folder = scratch.join("archive");
        std::fs::create_dir_all(&folder).map_err(error::io(format!("cannot create {}", folder.display())))?;
        for object in stored.objects.iter().filter(|o| !o.key.trim_start_matches(&prefix).contains('/')) {
            let Some(name) = object.key.strip_prefix(&prefix) else { continue };
            let path = folder.join(name);
            let failed = || error::io(format!("cannot write {}", path.display()));
            let mut file = tokio::fs::File::create(&path).await.map_err(failed())?;
            let mut reader = store.open(&object.key, None).await?;
            while let Some(bytes) = reader.stream.try_next().await? {
                file.write_all(&bytes).await.map_err(failed())?;
            }
            file.flush().await.map_err(failed())?;
        }
        self.examined(&folder).await
    }

    /// Looks at the target and decides; says the plan.
    async fn plan(&self, archive: &Archive) -> Result<(Ground, Option<(Part, Manifest)>)> {
        let config = self.config;
        if let Some(direct) = config.target.pooler() {
            let shown = config.target.redacted();
            return Err(
                Error::new(Kind::Refused, format!("{shown} is a transaction pooler: it mixes sessions")).hint(direct)
            );
        }
        let target = config.target.clone().pin().await?;
        let maintenance = Arc::new(Maintenance::find(&target).await?);
        with(&self.traces, |t| t.maintenance = Some(maintenance.clone()));
        maintenance.is_direct().await?;
        let facts = maintenance.look(&target).await?;
        let (mut notices, mut stored, mut tables) = (Vec::new(), None, Vec::new());
        let (what, money, proof) = match archive {
            Archive::Stored(backup) => {
                let (part, said) = self.part(&maintenance, &backup.toc).await?;
                notices = said;
                let manifest = part_of(&backup.manifest, &backup.toc, &part);
                let what = what(backup, &manifest, &part.of(backup.toc.clone()), &part);
                tables.extend(manifest.tables.iter().map(|t| (qualified(&t.schema, &t.name), t.columns.clone())));
                stored = Some((part, manifest));
                (what, Some(backup.manifest.source.lc_monetary.clone()), backup.proof.clone())
            }
            Archive::File(file) => {
                tables.extend(file.rows.keys().map(|name| (name.clone(), Vec::new())));
                (what_file(config, file), None, "none: a file without a manifest".to_owned())
            }
        };
        let plan = plan::decide(config, &what, &facts, OffsetDateTime::now_utc())?;
        let mut unproven = Vec::new();
        let tools = self.tools(what.major, &facts, &mut unproven).await?;
        if let Archive::File(file) = archive {
            file.known_to(&tools).await?;
        }
        // A crash of the server now breaks the restore off, whatever is on its disk; a commit at the end flushes everything before it.
        let mut settings =
            vec![("default_transaction_read_only", "off".to_owned()), ("synchronous_commit", "off".to_owned())];
        if facts.superuser {
            // Autovacuum visits tables that were just filled, and gives way to an index only when somebody has waited so long.
            settings.push(("deadlock_timeout", "50ms".to_owned()));
        }
        if let Some(money) = money {
            // Amounts of money are read and printed by it.
            let session = maintenance.session().await?;
            match session.batch_execute(&format!("SET lc_monetary TO {}", literal(&money))).await {
                Ok(()) => settings.push(("lc_monetary", money)),
                Err(_) => notices.push(format!(
                    "the target's server lacks the locale {money}: amounts of type money may be read wrongly"
                )),
            }
        }
        if config.data_only {
            self.empty_tables(&target, &tables, &mut settings).await?;
        }
        for name in &facts.unfinished {
            notices.push(format!(
                "database {name} is what a restore that was broken off left behind: DROP DATABASE {}",
                quote(name)
            ));
        }
        let tables = tables.into_iter().map(|(name, _)| name).collect();
        let ground = Ground { target, maintenance, facts, what, plan, tools, tables, notices, unproven, settings };
        let facts = self.facts(&ground, &proof);
        let mut text = "plan:\n".to_owned();
        for (name, value) in &facts {
            text.push_str(&format!("  {name:<12}  {value}\n"));
        }
        for (n, step) in ground.plan.steps.iter().enumerate() {
            text.push_str(&format!("  {}. {step}\n", n + 1));
        }
        // Outside of the phase's fold in the log of an action.
        self.progress.event(Event::Finished(Phase::Preflight, self.begun.elapsed()));
        self.progress.event(Event::Plan(&text));
        for line in &ground.notices {
            self.progress.event(Event::Notice(line));
        }
        for line in &ground.plan.warnings {
            self.progress.event(Event::Warning(line));
        }
        with(&self.traces, |t| t.facts = facts);
        Ok((ground, stored))
    }

    /// What of the archive is restored.
    async fn part(&self, maintenance: &Maintenance, toc: &Toc) -> Result<(Part, Vec<String>)> {
        let config = self.config;
        let mut part = Part {
            entries: None,
            without_schema: config.data_only,
            without_rows: config.part.schema_only,
            no_owner: config.owners == Owners::Skip,
            strict: true,
        };
        let mut notices = Vec::new();
        let mut entries: Option<BTreeSet<i32>> = None;
        if config.part.names_a_part() {
            let session = maintenance.session().await?;
            let selection = part::select(&session, toc, &config.part).await?;
            notices = selection.notices;
            entries = Some(selection.entries);
        }
        if config.data_only {
            let all = entries.unwrap_or_else(|| toc.entries.iter().map(|e| e.dump_id).collect());
            let large = |id: &i32| toc.entries.iter().any(|e| e.dump_id == *id && e.kind().starts_with("BLOB"));
            let rest: BTreeSet<i32> = all.iter().copied().filter(|id| !large(id)).collect();
            if rest.len() < all.len() {
                notices.push("large objects are left out: --data-only restores rows and sequences".into());
            }
            entries = Some(rest);
        }
        part.entries = entries.map(Arc::new);
        Ok((part, notices))
    }

    /// The programs: of the target's major where they are to be had, else of the source's.
    async fn tools(&self, major: Option<u32>, facts: &Facts, unproven: &mut Vec<String>) -> Result<Tools> {
        let dirs = &self.config.engine.pg_bin_dirs;
        match (tools::find(facts.major, dirs, false).await, major) {
            (Ok(tools), _) => Ok(tools),
            (Err(_), Some(major)) if major < facts.major => {
                let tools = tools::find(major, dirs, false).await?;
                unproven.push(format!(
                    "definitions: pg_dump {} is not here to read them back from the target",
                    facts.major
                ));
                Ok(tools)
            }
            (Err(e), _) => Err(e),
        }
    }

    /// Rows go only into tables that are there, empty, and do nothing of their own when rows come.
    async fn empty_tables(
        &self,
        target: &Target,
        tables: &[(String, Vec<String>)],
        settings: &mut Vec<(&'static str, String)>,
    ) -> Result<()> {
        let session = connect::connect(target, "savepoint restore").await?;
        let failed = |e| answer::error("cannot look at the target's tables", e);
        let replica = session.batch_execute("SET session_replication_role TO replica").await.is_ok();
        for (name, wanted) in tables {
            let row = session
                .query_opt(
                    "SELECT ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
                               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
                            EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled <> 'D')
                       FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass($1)",
                    &[name],
                )
                .await
                .map_err(failed)?;
            let refused = |why: String| Error::new(Kind::Refused, format!("--data-only: table {name} {why}"));
            let Some(row) = row else {
                return Err(refused("is not in the target".into())
                    .hint("run the migrations that create it, or leave out --data-only"));
            };
            let columns: Vec<String> = row.get(0);
            if let Some(column) = wanted.iter().find(|c| !columns.contains(c)) {
                return Err(refused(format!("has no column {column} in the target"))
                    .hint("bring the target's schema to the state of the backup"));
            }
            if row.get(1) && !replica {
                return Err(refused("has triggers or foreign keys, which only a superuser may keep still".into()).hint(
                    "let a superuser restore, or GRANT SET ON PARAMETER session_replication_role TO the role (PostgreSQL 15 and later)",
                ));
            }
            let sql = format!("SELECT EXISTS (SELECT FROM ONLY {name})");
            if session.query_one(&sql, &[]).await.map_err(failed)?.get(0) {
                return Err(refused("holds rows".into())
                    .hint(format!("TRUNCATE {name} if they may go, or restore into a new database by --create")));
            }
        }
        if replica {
            settings.push(("session_replication_role", "replica".to_owned()));
        }
        Ok(())
    }

    /// Reads every stored file once and holds it against the manifest. Returns small ones, so that they need not be read again.
    async fn check(&self, backup: &Backup) -> Result<HashMap<String, Bytes>> {
        let manifest = &backup.manifest;
        let mut problems = check_entries(&backup.toc, manifest);
        let files: HashMap<&str, &File> = manifest.files.iter().map(|f| (f.path.as_str(), f)).collect();
        for table in &manifest.tables {
            match table.file.as_deref().map(|path| files.get(path).map(|file| readback::tiles(table, file))) {
                None | Some(Some(Ok(_))) => {}
                Some(Some(Err(e))) => problems.push(e.one_line()),
                Some(None) => {
                    problems.push(format!("table {}.{}: the manifest lacks its file", table.schema, table.name))
                }
            }
        }
        let (store, folder, mut room) = (&backup.store, &backup.folder, KEPT_BYTES);
        let (small, large): (Vec<&File>, Vec<&File>) = manifest.files.iter().partition(|file| {
            let keep = file.size <= AHEAD_BYTES && file.size <= room;
            room -= if keep { file.size } else { 0 };
            keep
        });
        let small = stream::iter(small)
            .map(async |file| Ok(Some((file.path.clone(), readback::small(store, folder, file).await?))))
            .buffer_unordered(AHEAD);
        let large = stream::iter(large)
            .map(async |file| readback::whole(store, folder, file, None).await.map(|()| None))
            .buffer_unordered(self.config.engine.jobs.max(2));
        let checked: Vec<Result<Option<(String, Bytes)>>> = stream::select(small, large).collect().await;
        let mut read = HashMap::new();
        for result in checked {
            match result {
                Ok(kept) => read.extend(kept),
                Err(e) if of_the_archive(&e) => problems.push(e.one_line()),
                Err(e) => return Err(e),
            }
        }
        let Some(first) = problems.first() else { return Ok(read) };
        let more = if problems.len() == 1 { String::new() } else { format!(" (and {} more)", problems.len() - 1) };
        Err(Error::new(Kind::Archive, format!("backup {} is damaged: {first}{more}", manifest.id))
            .hint("the target was not touched; restore another backup (savepoint list --proof passed), and find out who writes to the destination"))
    }

    /// A proven backup of what is about to be replaced; its id.
    async fn safety(&self, ground: &Ground) -> Result<String> {
        let config = self.config;
        let Some(destination) = config.destination.clone() else {
            return Err(Error::new(Kind::Refused, "no destination for the safety backup"));
        };
        let backup = BackupConfig {
            source: config.target.clone(),
            destination,
            kind: BackupKind::PreRestore,
            jobs: config.engine.jobs,
            max_rate: None,
            compression: CompressionChoice::Auto,
            filter: Filter::default(),
            verify: VerifyLevel::Content,
            verify_url: None,
            pg_bin_dirs: config.engine.pg_bin_dirs.clone(),
            scratch_dir: config.engine.scratch_dir.clone(),
            redact_host: false,
            anomaly: Anomaly { max_drop: 100, max_growth: 1_000_000, fail: false, allow_empty: true },
            prune: None,
            context: config.context.clone(),
        };
        let db = &ground.target.dbname;
        self.progress.event(Event::Notice(&format!("safety backup of {db} begins")));
        // It cleans up behind itself when interrupted, so it is not dropped half-way: the token is its own to watch.
        let (progress, cancel) = (self.progress.clone(), self.cancel.clone());
        let tasks = with(&self.traces, |t| t.tasks.clone());
        let report = tasks.spawn(async move { backup::run(&backup, progress, cancel).await }).await;
        let report = report.map_err(|e| Error::new(Kind::Refused, "the safety backup broke off").because(e))?;
        let id = report.backup.as_ref().map(|b| b.manifest.id.clone());
        match (report.outcome, id) {
            (Outcome::Proven, Some(id)) => {
                self.progress.event(Event::Notice(&format!("safety backup of {db}: {id}")));
                with(&self.traces, |t| t.facts.push(("safety backup", id.clone())));
                Ok(id)
            }
            _ => {
                let why = report.failure.map(|f| f.message);
                let why = why.or_else(|| report.proof.and_then(|p| p.differences.into_iter().next()));
                let why = why.unwrap_or_else(|| "it is not proven".into());
                Err(Error::new(
                    Kind::Refused,
                    format!("the safety backup of {db} failed, so nothing was touched: {why}"),
                )
                .hint("savepoint check --database-url … says what it lacks; --no-safety-backup goes without"))
            }
        }
    }

    /// Makes roles and the database, or empties the target. Returns where it is restored into, with the sessions' settings.
    async fn make_room(&self, ground: &Ground, archive: &Archive) -> Result<(Target, String)> {
        let Ground { plan, maintenance, facts, target, .. } = ground;
        maintenance.create_roles(&plan.create_roles, facts).await?;
        let undo = |undo: Undo| with(&self.traces, |t| t.undo.push(undo));
        let dbname = match &plan.way {
            Way::Create(name) | Way::Swap { new: name, .. } | Way::Replace { new: name, .. } => {
                let mark = format!("{MARK}{} unfinished, begun {}", ground.what.label, now());
                // Before it is there: whoever interrupts us in between finds nothing to drop.
                undo(Undo::Drop(name.clone()));
                if let Err(e) = maintenance.create(name, &create_sql(archive, name, facts.major), &mark).await {
                    if e.message().contains("42P04") {
                        // Somebody else made it just now: it is not ours to drop.
                        with(&self.traces, |t| t.undo.clear());
                    }
                    return Err(e);
                }
                name.clone()
            }
            Way::Into if self.config.data_only => {
                undo(Undo::Truncate(self.session_target(ground, &target.dbname), ground.tables.clone()));
                target.dbname.clone()
            }
            Way::Into => {
                undo(Undo::Wipe(target.clone()));
                target.dbname.clone()
            }
            Way::Wipe => {
                target::wipe(target).await?;
                undo(Undo::Wipe(target.clone()));
                target.dbname.clone()
            }
        };
        Ok((self.session_target(ground, &dbname), dbname))
    }

    fn session_target(&self, ground: &Ground, dbname: &str) -> Target {
        let mut target = ground.target.with_dbname(dbname);
        let mut options = target.options.take().unwrap_or_default();
        for (name, value) in &ground.settings {
            // libpq splits at blanks that no backslash precedes.
            let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
            options.push_str(&format!(" -c {name}={value}"));
        }
        target.options = Some(options.trim_start().to_owned());
        target
    }

    async fn load(
        &self,
        restore: &Restore,
        granted: &Granted,
        backup: &Backup,
        manifest: &Manifest,
    ) -> Result<Restored> {
        self.progress.event(Event::Started(Phase::Restore));
        let begun = Instant::now();
        std::fs::create_dir_all(&restore.files)
            .map_err(error::io(format!("cannot create {}", restore.files.display())))?;
        let files: HashMap<&str, &File> = backup.manifest.files.iter().map(|f| (f.path.as_str(), f)).collect();
        let streamed: HashSet<&str> = backup.manifest.tables.iter().filter_map(|t| t.file.as_deref()).collect();
        let wanted = |file: &&File| {
            let name = file.path.strip_prefix("archive/");
            let Some(name) = name.filter(|_| !streamed.contains(file.path.as_str())) else { return false };
            name == "toc.dat" || (!restore.part.without_rows && self.is_wanted(name, &backup.toc, &restore.part))
        };
        let own: Vec<File> = backup.manifest.files.iter().filter(wanted).cloned().collect();
        let needed: u64 = own.iter().map(|f| f.size).sum();
        if needed + (32 << 20) > scratch::free_space(&restore.files)? {
            return Err(Error::new(Kind::Io, format!("{} lacks room for {}", restore.files.display(), bytes(needed)))
                .hint("free some space, or name another folder by --scratch-dir"));
        }
        self.progress
            .event(Event::ToRestore(manifest.tables.iter().filter(|t| t.file.is_some()).map(|t| t.bytes).sum()));
        let (sender, tables) = mpsc::unbounded_channel();
        for table in &manifest.tables {
            if let Some(&file) = table.file.as_deref().and_then(|path| files.get(path)) {
                // The receiver lives as long as the restore.
                let _ = sender.send((Arc::new(table.clone()), Arc::new(file.clone())));
            }
        }
        drop(sender);
        let restored = restore.run(&own, granted, tables.into()).await?;
        self.progress.event(Event::Finished(Phase::Restore, begun.elapsed()));
        Ok(restored)
    }

    /// Whether a part needs a file that pg_dump wrote.
    fn is_wanted(&self, name: &str, toc: &Toc, part: &Part) -> bool {
        let Some(entries) = &part.entries else { return true };
        let stem = name.find(".dat").map_or(name, |at| &name[..at + 4]);
        toc.entries
            .iter()
            .any(|e| entries.contains(&e.dump_id) && e.filename.as_deref() == Some(stem.as_bytes()) && !stem.is_empty())
    }

    #[allow(clippy::too_many_arguments, reason = "each is a thing of its own")]
    async fn compare(
        &self,
        ground: &Ground,
        restore: &Restore,
        granted: &Granted,
        manifest: &Manifest,
        restored: Restored,
        folder: &Path,
        dbname: &str,
    ) -> Result<Comparison> {
        let mut found = Comparison::default();
        let level = self.config.verify;
        if matches!(level, VerifyLevel::Content | VerifyLevel::Rows) {
            self.progress.event(Event::Started(Phase::Compare));
            let begun = Instant::now();
            found = compare::compare(restore, manifest, level).await?;
            if self.config.data_only {
                found.unproven.push("the schema: it was there already".into());
            } else if ground.unproven.is_empty() {
                let name = plan::name_with(dbname, "_savepoint_schema");
                let canonical = async || -> Result<Option<Target>> {
                    if !ground.facts.creates_databases || ground.facts.databases.contains(&name) {
                        return Ok(None);
                    }
                    with(&self.traces, |t| t.undo.push(Undo::Drop(name.clone())));
                    let mark = format!("{MARK}{} unfinished: a comparison's", ground.what.label);
                    let source = Source { major: ground.facts.major, ..manifest.source.clone() };
                    ground.maintenance.create(&name, &cluster::create_database_sql(&source, &name), &mark).await?;
                    Ok(Some(ground.target.with_dbname(&name)))
                };
                compare::schemas(restore, granted, folder, canonical, &mut found).await?;
                let made = with(&self.traces, |t| t.undo.pop_if(|u| matches!(u, Undo::Drop(n) if *n == name)));
                if made.is_some() {
                    ground.maintenance.remove(&name).await?;
                }
            }
            if level == VerifyLevel::Rows {
                found.unproven.push("content of the rows: they were only counted".into());
            }
            if !manifest.matviews.is_empty() {
                found.unproven.push("rows of materialized views: a restore computes them anew".into());
            }
            self.progress.event(Event::Finished(Phase::Compare, begun.elapsed()));
        }
        if !restored.excused.is_empty() {
            let excused = |d: &String| {
                d.starts_with("comment on extension ")
                    || d.contains(" on schema public")
                    || d.starts_with("schema public")
            };
            found.differences.retain(|d| !excused(d));
            for line in &restored.excused {
                self.progress.event(Event::Warning(&format!("only a superuser may restore this: {line}")));
            }
        }
        found.unproven.extend(restored.unproven);
        found.unproven.extend(ground.unproven.iter().cloned());
        found.differences.splice(0..0, restored.problems);
        found.differences.dedup();
        Ok(found)
    }

    /// Gathers statistics over several connections. What fails is a warning: autovacuum does it later.
    async fn analyze(&self, target: &Target) {
        let tables = async {
            let session = connect::connect(target, "savepoint restore").await?;
            let sql = "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text FROM pg_catalog.pg_class c
                         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                        WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
                        ORDER BY pg_catalog.pg_table_size(c.oid) DESC";
            let rows = session.query(sql, &[]).await.map_err(|e| answer::error("cannot list the tables", e))?;
            let name = |r: &tokio_postgres::Row| Some(qualified(r.try_get(0).ok()?, r.try_get(1).ok()?));
            Ok::<VecDeque<String>, Error>(rows.iter().filter_map(name).collect())
        };
        let warn = |e: Error| self.progress.event(Event::Warning(&format!("ANALYZE: {}", e.one_line())));
        let queue = match tables.await {
            Ok(tables) => Arc::new(Mutex::new(tables)),
            Err(e) => return warn(e),
        };
        let mut workers = JoinSet::new();
        for _ in 0..self.config.engine.jobs {
            let (queue, target) = (queue.clone(), target.clone());
            workers.spawn(async move {
                let session = connect::connect(&target, "savepoint restore").await?;
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(table) = next else { return Ok::<(), Error>(()) };
                    let done = session.batch_execute(&format!("ANALYZE {table}")).await;
                    done.map_err(|e| answer::error(&table, e))?;
                }
            });
        }
        while let Some(ended) = workers.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(e)) => warn(e),
                Err(e) => warn(Error::new(Kind::Database, "a task failed").because(e)),
            }
        }
    }

    /// The restored database differs: it stays beside the old one, marked, and nothing takes its place.
    async fn keep_for_study(&self, ground: &Ground, dbname: &str, page: &mut Page) -> Result<()> {
        with(&self.traces, |t| t.undo.clear());
        page.verdict = Verdict::Bad;
        page.exit_code = 3;
        let db = &ground.target.dbname;
        match &ground.plan.way {
            Way::Create(_) | Way::Swap { .. } | Way::Replace { .. } => {
                let mark = format!("{MARK}{} not equal to the backup", ground.what.label);
                ground.maintenance.comment(dbname, Some(&mark)).await?;
                let stays = match &ground.plan.way {
                    Way::Create(_) => String::new(),
                    _ => format!("database {db} was not touched; "),
                };
                page.notices.push(format!(
                    "{stays}what was restored is kept as {dbname}: DROP DATABASE {} when you have looked at it",
                    quote(dbname)
                ));
            }
            Way::Into | Way::Wipe => {}
        }
        Ok(())
    }

    /// All is equal: the new database loses its mark and, where asked for, takes the target's place.
    async fn put_into_place(&self, ground: &Ground, dbname: &str, page: &mut Page) -> Result<()> {
        let (maintenance, db) = (&ground.maintenance, &ground.target.dbname);
        match &ground.plan.way {
            Way::Into | Way::Wipe => {}
            Way::Create(_) => maintenance.comment(dbname, None).await?,
            Way::Swap { new, aside } | Way::Replace { new, aside } => {
                maintenance.carry_over(db, new).await?;
                maintenance.swap(db, aside, new).await?;
            }
        }
        with(&self.traces, |t| t.undo.clear());
        let quote = quote;
        match &ground.plan.way {
            Way::Swap { aside, .. } => {
                page.facts.push(("old database", format!("kept as {aside}")));
                let end = |name: &str| {
                    format!(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {} AND pid <> pg_backend_pid();",
                        literal(name)
                    )
                };
                let undone = plan::name_with(db, "_undone");
                page.commands.push((
                    "the way back (SQL, in another database, such as postgres)",
                    vec![
                        end(db),
                        format!(
                            "BEGIN; ALTER DATABASE {} RENAME TO {}; ALTER DATABASE {} RENAME TO {}; COMMIT;",
                            quote(db),
                            quote(&undone),
                            quote(aside),
                            quote(db)
                        ),
                    ],
                ));
                page.commands.push((
                    "when the old database is no longer needed (SQL)",
                    vec![format!("DROP DATABASE {};", quote(aside))],
                ));
            }
            Way::Replace { aside, .. } => {
                if let Err(e) = maintenance.remove(aside).await {
                    self.progress
                        .event(Event::Warning(&format!("the old database is left as {aside}: {}", e.one_line())));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// What the archive of a part of its source takes for granted.
fn granted(manifest: &Manifest, toc: &Toc) -> Granted {
    let filter = &manifest.options.filter;
    let schemas = if filter.tables.is_empty() { Vec::new() } else { schemas_of(toc) };
    Granted { schemas, extensions: granted_extensions(filter, &manifest.extensions) }
}

/// The manifest of the part that is restored: what the restored database is compared with.
fn part_of(manifest: &Manifest, toc: &Toc, part: &Part) -> Manifest {
    let mut manifest = manifest.clone();
    if part.without_rows {
        manifest.tables.clear();
        manifest.sequences.clear();
        manifest.large_objects.clear();
        manifest.matviews.clear();
    }
    if let Some(ids) = &part.entries {
        let taken =
            |kind: &'static str| toc.entries.iter().filter(move |e| e.kind() == kind && ids.contains(&e.dump_id));
        let names = |kind: &'static str| -> HashSet<(String, String)> {
            taken(kind).map(|e| (lossy(&e.namespace), lossy(&e.tag))).collect()
        };
        let rows: HashSet<u32> = taken("TABLE DATA").filter_map(|e| e.oid()).collect();
        let tables: HashSet<u32> = taken("TABLE").filter_map(|e| e.oid()).collect();
        manifest.tables.retain(|t| if t.with_children { tables.contains(&t.oid) } else { rows.contains(&t.oid) });
        let (sequences, matviews) = (names("SEQUENCE SET"), names("MATERIALIZED VIEW DATA"));
        manifest.sequences.retain(|s| sequences.contains(&(s.schema.clone(), s.name.clone())));
        manifest.matviews.retain(|m| matviews.contains(&(m.schema.clone(), m.name.clone())));
        manifest.large_objects.clear();
    }
    if part.without_schema {
        manifest.matviews.clear();
    }
    manifest
}

/// The statement that makes an empty database with the source's encoding and locale. A file may not hold them: then the server's own
/// locale is used.
fn create_sql(archive: &Archive, name: &str, major: u32) -> String {
    match archive {
        // The clauses are those of the server that makes it.
        Archive::Stored(backup) => {
            cluster::create_database_sql(&Source { major, ..backup.manifest.source.clone() }, name)
        }
        Archive::File(file) => {
            let clauses = file.create_database.as_deref().and_then(|sql| Some(sql.split_once(" WITH ")?.1));
            let clauses = clauses.map(|c| c.split(" TABLESPACE").next().unwrap_or(c).trim().trim_end_matches(';'));
            let encoding = file.encoding.as_deref().map(|e| format!(" ENCODING {}", literal(e))).unwrap_or_default();
            match clauses {
                Some(clauses) => format!("CREATE DATABASE {} WITH {clauses}", quote(name)),
                None => format!("CREATE DATABASE {} TEMPLATE template0{encoding}", quote(name)),
            }
        }
    }
}

/// What the plan needs to know of a file.
fn what_file(config: &RestoreConfig, file: &DumpFile) -> What {
    let rows: Option<u64> = file.rows.values().copied().sum();
    What {
        label: file.path.display().to_string(),
        taken_at: None,
        stored_bytes: file.size,
        bytes: file.bytes,
        tables: Some(file.tables),
        rows,
        database: file.database.clone(),
        version: file.source_version.clone(),
        major: file.major,
        roles: file.roles.clone(),
        // Which of the roles own something is not told apart: what cannot be given away shows when it is restored.
        owners: BTreeSet::new(),
        extensions: file.extensions.clone(),
        has_manifest: false,
        whole: !config.part.names_a_part() && !config.part.schema_only && !config.data_only,
    }
}

/// What the plan needs to know of the part that is restored.
fn what(backup: &Backup, manifest: &Manifest, toc: &Toc, part: &Part) -> What {
    let Manifest { source, roles, .. } = manifest;
    let all: Vec<String> = roles.iter().map(|r| r.name.clone()).collect();
    let created = |e: &&crate::archive::toc::Entry| e.kind() == "EXTENSION";
    let mut extensions: Vec<String> = toc.entries.iter().filter(created).map(|e| lossy(&e.tag)).collect();
    extensions.extend(granted_extensions(&manifest.options.filter, &manifest.extensions).into_iter().map(|e| e.name));
    What {
        label: manifest.id.clone(),
        taken_at: Some(manifest.taken_at.clone()),
        stored_bytes: backup.manifest.totals.stored_bytes,
        bytes: manifest.tables.iter().map(|t| t.bytes).sum(),
        tables: Some(manifest.tables.len() as u64),
        rows: Some(manifest.tables.iter().map(|t| t.rows).sum()),
        database: Some(source.database.clone()),
        version: Some(source.server_version.clone()),
        major: Some(source.major),
        roles: schema::role_names(toc, &all),
        owners: toc.entries.iter().map(|e| lossy(&e.owner)).filter(|o| all.contains(o)).collect(),
        extensions,
        has_manifest: true,
        whole: part.is_whole(),
    }
}
