//! Into the target: room is made, the archive is restored, and the copy compared.

use super::{
    ground::granted,
    plan::{self, Way},
    run::{Archive, Backup, Ground, Run},
    target::{self, MARK},
    traces::{Undo, with},
};
use crate::{
    clock::now,
    dumpfile::DumpFile,
    error::{self, Error, Kind, Result, joined},
    postgres::{
        answer, connect,
        conninfo::Target,
        quote::{literal, qualified, quote},
    },
    progress::{Event, Phase, Progress},
    report::format::bytes,
    scratch::{self},
    vault::{
        Manifest, VerifyLevel,
        manifest::{File, Source},
    },
    verify::{
        cluster,
        compare::{self, Comparison},
        readback::Packs,
        restore::{Granted, Incoming, Part, Restore, Restored, harmless},
    },
};

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use tokio::task::JoinSet;

impl Run<'_> {
    /// Makes roles and the database, or empties the target. Returns where it is restored into, with the sessions' settings.
    pub(super) async fn make_room(&self, ground: &Ground, archive: &Archive) -> Result<(Target, String)> {
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

    pub(super) fn session_target(&self, ground: &Ground, dbname: &str) -> Target {
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

    /// Restores a backup of ours and compares it with its manifest; also the seconds that the first of it took.
    #[allow(clippy::too_many_arguments, reason = "each is a thing of its own")]
    pub(super) async fn stored(
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
            packs: Packs::default(),
        };
        let granted = granted(manifest, &backup.toc);
        let begun = Instant::now();
        let restored = self.load(&restore, &granted, backup, manifest).await?;
        let load_seconds = begun.elapsed().as_secs_f64();
        let found = self.compare(ground, &restore, &granted, manifest, restored, folder, dbname).await?;
        Ok((found, load_seconds))
    }

    /// Restores what pg_dump wrote, and counts the rows.
    pub(super) async fn file(
        &self,
        ground: &Ground,
        file: &DumpFile,
        into: &Target,
        folder: &Path,
    ) -> Result<Comparison> {
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

    pub(super) async fn load(
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
        let wanted = |file: &&File| {
            let Some(name) = file.name().strip_prefix("archive/") else { return false };
            let needed = || file.members.is_some() || self.is_wanted(name, &backup.toc, &restore.part);
            name == "toc.dat" || (!restore.part.without_rows && needed())
        };
        let own: Vec<File> = backup.manifest.own_files().filter(wanted).cloned().collect();
        let needed: u64 = own.iter().map(File::content).sum();
        if needed + (32 << 20) > scratch::free_space(&restore.files)? {
            return Err(Error::new(Kind::Io, format!("{} lacks room for {}", restore.files.display(), bytes(needed)))
                .hint("free some space, or name another folder by --scratch-dir"));
        }
        self.progress
            .event(Event::ToRestore(manifest.tables.iter().filter(|t| t.file.is_some()).map(|t| t.bytes).sum()));
        let restored = restore.run(&own, granted, Incoming::stored(manifest)).await?;
        self.progress.event(Event::Finished(Phase::Restore, begun.elapsed()));
        Ok(restored)
    }

    #[allow(clippy::too_many_arguments, reason = "each is a thing of its own")]
    pub(super) async fn compare(
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
    pub(super) async fn analyze(&self, target: &Target) {
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
            if let Err(e) = joined("loading", ended) {
                warn(e);
            }
        }
    }
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
