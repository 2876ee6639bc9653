//! The plan against the target: everything is looked at, nothing is touched.

use super::{
    config::{Owners, Place, RestoreConfig},
    part,
    plan::{self, What},
    run::{Archive, Backup, Ground, Run},
    target::{Facts, Maintenance},
    traces::with,
};
use crate::{
    archive::{
        database::{Database, is_of_database},
        schema,
        toc::{Entry, Toc, lossy},
    },
    dumpfile::DumpFile,
    error::{Error, Kind, Result},
    postgres::{
        answer, connect,
        conninfo::Target,
        quote::{literal, qualified, quote},
        tools::{self, Tools},
    },
    progress::{Event, Phase, Progress},
    vault::Manifest,
    verify::{
        granted_extensions,
        restore::{Granted, Part, schemas_of},
    },
};

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use time::OffsetDateTime;

/// What there is to restore, before the target has its say.
struct Wanted {
    what: What,
    /// `lc_monetary` of the session that read the rows.
    money: Option<String>,
    /// The proof, in words.
    proof: String,
    /// Tables with rows as SQL names them, and their columns where they are known.
    tables: Vec<(String, Vec<String>)>,
    notices: Vec<String>,
    stored: Option<(Part, Manifest)>,
}

impl Run<'_> {
    /// Looks at the target and decides; says the plan. With a stored backup: what of it is restored, and its manifest as far as it is.
    pub(super) async fn plan(&self, archive: &Archive) -> Result<(Ground, Option<(Part, Manifest)>)> {
        let config = self.config;
        let (target, maintenance) = self.reach().await?;
        let mut facts = maintenance.look(&target).await?;
        let Wanted { what, money, proof, tables, mut notices, stored } = self.wanted(archive, &maintenance).await?;
        if !config.data_only {
            let new = facts.content.is_none() || config.place != Place::Empty;
            maintenance.try_extensions(&target, &mut facts, &what.extensions, new).await?;
            maintenance.look_at_public(&target, &mut facts, &what.owners_in_public, new).await?;
        }
        let plan = plan::decide(config, &what, &facts, OffsetDateTime::now_utc())?;
        let mut unproven = Vec::new();
        let tools = self.tools(what.major, &facts, &mut unproven).await?;
        if let Archive::File(file) = archive {
            file.known_to(&tools).await?;
        }
        let mut settings = settings(&facts, money, &maintenance, &mut notices).await?;
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
        self.say(&ground, &proof, archive);
        Ok((ground, stored))
    }

    /// The target, pinned to one address, and a way to its server that is no pooler's.
    async fn reach(&self) -> Result<(Target, Arc<Maintenance>)> {
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
        Ok((target, maintenance))
    }

    /// What there is to restore.
    async fn wanted(&self, archive: &Archive, maintenance: &Maintenance) -> Result<Wanted> {
        match archive {
            Archive::Stored(backup) => {
                let (part, notices) = self.part(maintenance, &backup.toc).await?;
                let manifest = part_of(&backup.manifest, &backup.toc, &part);
                let name = |t: &crate::vault::manifest::Table| (qualified(&t.schema, &t.name), t.columns.clone());
                Ok(Wanted {
                    what: what(backup, &manifest, &part.of(backup.toc.clone()), &part),
                    money: Some(backup.manifest.source.lc_monetary.clone()),
                    proof: backup.proof.clone(),
                    tables: manifest.tables.iter().map(name).collect(),
                    notices,
                    stored: Some((part, manifest)),
                })
            }
            Archive::File(file) => Ok(Wanted {
                what: what_file(self.config, file),
                money: None,
                proof: "none: a file without a manifest".to_owned(),
                tables: file.rows.keys().map(|name| (name.clone(), Vec::new())).collect(),
                notices: Vec::new(),
                stored: None,
            }),
        }
    }

    /// Says the plan.
    fn say(&self, ground: &Ground, proof: &str, archive: &Archive) {
        let facts = self.facts(ground, proof);
        let mut text = "plan:\n".to_owned();
        for (name, value) in &facts {
            text.push_str(&format!("  {name:<12}  {value}\n"));
        }
        for (n, step) in ground.plan.steps.iter().enumerate() {
            text.push_str(&format!("  {}. {step}\n", n + 1));
        }
        for line in archive.reaches() {
            text.push_str(&format!("  reaches out of the database: {line}\n"));
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
    }

    /// What of the archive is restored.
    pub(super) async fn part(&self, maintenance: &Maintenance, toc: &Toc) -> Result<(Part, Vec<String>)> {
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
    pub(super) async fn tools(&self, major: Option<u32>, facts: &Facts, unproven: &mut Vec<String>) -> Result<Tools> {
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
    pub(super) async fn empty_tables(
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
}

/// What the archive of a part of its source takes for granted.
pub(super) fn granted(manifest: &Manifest, toc: &Toc) -> Granted {
    let filter = &manifest.options.filter;
    let schemas = if filter.tables.is_empty() { Vec::new() } else { schemas_of(toc) };
    Granted { schemas, extensions: granted_extensions(filter, &manifest.extensions) }
}

/// The manifest of the part that is restored: what the restored database is compared with.
pub(super) fn part_of(manifest: &Manifest, toc: &Toc, part: &Part) -> Manifest {
    let mut manifest = manifest.clone();
    if part.without_rows {
        manifest.tables.clear();
        manifest.sequences.clear();
        manifest.large_objects.clear();
        manifest.large_object_chunks.clear();
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
        manifest.large_object_chunks.clear();
    }
    if part.without_schema {
        manifest.matviews.clear();
    }
    manifest
}

/// What the plan needs to know of a file.
fn what_file(config: &RestoreConfig, file: &DumpFile) -> What {
    let rows: Option<u64> = file.rows.values().copied().sum();
    What {
        label: file.path.display().to_string(),
        taken_at: None,
        stored_bytes: file.size,
        signed: None,
        bytes: file.bytes,
        tables: Some(file.tables),
        rows,
        database: file.database.clone(),
        version: file.source_version.clone(),
        major: file.major,
        roles: file.roles.clone(),
        // Which of the roles own something is not told apart: what cannot be given away shows when it is restored.
        owners: BTreeSet::new(),
        owners_in_public: BTreeSet::new(),
        extensions: file.extensions.clone(),
        has_manifest: false,
        has_properties: false,
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
        signed: backup.receipt.line(),
        bytes: manifest.tables.iter().map(|t| t.bytes).sum(),
        tables: Some(manifest.tables.len() as u64),
        rows: Some(manifest.tables.iter().map(|t| t.rows).sum()),
        database: Some(source.database.clone()),
        version: Some(source.server_version.clone()),
        major: Some(source.major),
        roles: schema::role_names(toc, &all),
        owners: schema_owners(toc, |_| true).filter(|o| all.contains(o)).collect(),
        owners_in_public: schema_owners(toc, is_given_in_public).filter(|o| all.contains(o)).collect(),
        extensions,
        has_manifest: true,
        has_properties: Database::of(&backup.toc).is_some(),
        whole: part.is_whole(),
    }
}

/// Who owns something in the database; the database itself is given away where its properties are.
fn schema_owners(toc: &Toc, of: impl Fn(&Entry) -> bool) -> impl Iterator<Item = String> {
    toc.entries.iter().filter(move |e| !is_of_database(e) && of(e)).map(|e| lossy(&e.owner))
}

/// Whether the object lies in schema `public` and is given to its owner by a statement of its own.
fn is_given_in_public(e: &Entry) -> bool {
    let kinds = [
        "TABLE",
        "VIEW",
        "MATERIALIZED VIEW",
        "FOREIGN TABLE",
        "SEQUENCE",
        "TYPE",
        "DOMAIN",
        "FUNCTION",
        "PROCEDURE",
        "AGGREGATE",
        "OPERATOR",
        "OPERATOR CLASS",
        "OPERATOR FAMILY",
        "COLLATION",
        "CONVERSION",
        "STATISTICS",
        "TEXT SEARCH CONFIGURATION",
        "TEXT SEARCH DICTIONARY",
    ];
    e.namespace.as_deref() == Some(b"public") && kinds.contains(&e.kind())
}

/// `SET`s that every session of the load begins with.
async fn settings(
    facts: &Facts,
    money: Option<String>,
    maintenance: &Maintenance,
    notices: &mut Vec<String>,
) -> Result<Vec<(&'static str, String)>> {
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
    Ok(settings)
}
