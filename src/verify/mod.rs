//! The proof: what lies in the store, restored into a throwaway server and compared.

pub mod admit;
mod cage;
pub mod cluster;
pub mod compare;
mod comparison;
pub mod database;
mod door;
pub mod extensions;
mod large_objects;
pub mod limits;
pub mod readback;
pub mod restore;
mod rows;
pub mod server;
pub mod streams;

use crate::{
    clock::now,
    error::{self, Result},
    postgres::tools::Tools,
    progress::{Event, Phase, Progress},
    vault::{
        Filter, Folder, Manifest, Proof, VerifyLevel,
        manifest::{Extension, File, TOC},
        proof::Compared,
        read::{manifest_in, whole},
    },
};
use compare::Comparison;
use futures_util::{StreamExt, stream};
use readback::Packs;
use restore::{Granted, Incoming, Restore, Restored};
use server::Server;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

/// What a proof works with, whether the backup is being taken or was stored long ago.
#[derive(Clone)]
pub struct Prover {
    /// Where the backup lies.
    pub folder: Folder,
    /// Programs of the source's major.
    pub tools: Tools,
    /// How much is proven.
    pub level: VerifyLevel,
    /// A folder for this proof's files; exists.
    pub scratch: PathBuf,
    /// Connections.
    pub jobs: usize,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
}

/// The first half of a proof: the archive is restored, nothing is compared yet.
pub struct Half {
    restore: Restore,
    restored: Restored,
    granted: Granted,
    unproven: Vec<String>,
    started: (String, Instant),
    seconds: f64,
}

/// What the restore needs to know before tables come.
pub struct Begin {
    /// Facts about the source.
    pub source: crate::vault::manifest::Source,
    /// Roles that the archive names.
    pub roles: Vec<crate::vault::manifest::Role>,
    /// Whether single tables were asked for, so that their schemas are not in the archive.
    pub single_tables: bool,
    /// Extensions that the archive takes for granted.
    pub extensions: Vec<Extension>,
    /// `toc.dat` and the files that pg_dump wrote.
    pub own: Vec<File>,
}

impl Half {
    /// The restored copy.
    pub fn target(&self) -> &crate::postgres::conninfo::Target {
        &self.restore.target
    }

    /// The local copy of the stored table of contents.
    pub fn toc_path(&self) -> PathBuf {
        self.restore.toc_path()
    }
}

impl Prover {
    /// Restores the archive into a new database of `server` while its tables arrive.
    pub async fn restore(&self, server: &mut Server, begin: Begin, incoming: Incoming) -> Result<Half> {
        let started = (now(), Instant::now());
        self.progress.event(Event::Started(Phase::Restore));
        server.create_roles(&begin.roles, &*self.progress).await?;
        let (target, unproven) = server.create_database(&begin.source, "").await?;
        self.progress.event(Event::Throwaway(&conninfo(&target)));
        if let Some(why) = server.uncaged() {
            self.progress.event(Event::Notice(&why));
        }
        let files = self.scratch.join("restore");
        std::fs::create_dir_all(&files).map_err(error::io(format!("cannot create {}", files.display())))?;
        let restore = Restore {
            folder: self.folder.clone(),
            tools: self.tools.clone(),
            major: begin.source.major,
            encoding: begin.source.encoding.clone(),
            target,
            part: restore::Part::default(),
            read: Arc::default(),
            files,
            jobs: self.jobs,
            progress: self.progress.clone(),
            packs: Packs::default(),
        };
        let schemas = if begin.single_tables { self.schemas_of(&begin.own).await? } else { Vec::new() };
        let granted = Granted { schemas, extensions: begin.extensions };
        let restored = restore.run(&begin.own, &granted, incoming).await?;
        let seconds = started.1.elapsed();
        self.progress.event(Event::Finished(Phase::Restore, seconds));
        Ok(Half { restore, restored, granted, unproven, started, seconds: seconds.as_secs_f64() })
    }

    /// Schemas that the archive's objects lie in.
    async fn schemas_of(&self, own: &[File]) -> Result<Vec<String>> {
        let Some(toc) = own.iter().find(|f| f.name() == TOC) else { return Ok(Vec::new()) };
        let path = self.scratch.join("toc-for-schemas.dat");
        if readback::whole(&self.folder, toc, Some(&path)).await.is_err() {
            // The restore reports it.
            return Ok(Vec::new());
        }
        Ok(restore::schemas_of(&restore::read_toc(&path)?))
    }

    /// The second half: compares the restored copy with the manifest, and what lies in the store with its list of files.
    pub async fn compare(&self, server: &mut Server, manifest: &Manifest, half: Half) -> Result<Proof> {
        let begun = Instant::now();
        self.progress.event(Event::Started(Phase::Compare));
        let Half { restore, restored, granted, mut unproven, started, seconds } = half;
        unproven.extend(restored.unproven);
        let mut found = Comparison { unproven, ..Comparison::default() };
        let mut problems = restored.problems;
        problems.extend(self.listed(manifest).await?);
        found.compared.files = restored.files;
        let beside = |f: &File| !f.path.starts_with("archive/");
        // Streamed files were read frame by frame; where no digest guards the manifest, a restore may find fault with the file's own hash.
        let streamed =
            |f: &File| manifest.digest.is_empty() && manifest.tables.iter().any(|t| t.file.as_ref() == Some(&f.path));
        for file in manifest.files.iter().filter(|f| beside(f) || streamed(f)) {
            match readback::whole(&self.folder, file, None).await {
                Ok(()) => found.compared.files += u64::from(beside(file)),
                Err(e) if restore::of_the_archive(&e) => problems.push(e.one_line()),
                Err(e) => return Err(e),
            }
        }
        if problems.is_empty() || restore.toc_path().exists() {
            let stored = restore::read_toc(&restore.toc_path())?;
            problems.extend(restore::check_entries(&stored, manifest));
            let mut compared = compare::compare(&restore, manifest, self.level).await?;
            let canonical = async || Ok(Some(server.create_database(&manifest.source, "_schema").await?.0));
            compare::schemas(&restore, &granted, &self.scratch, canonical, &mut compared).await?;
            database::compare(server, &restore, manifest, &stored, &self.scratch, &mut compared).await?;
            compared.compared.files += found.compared.files;
            compared.unproven.extend(found.unproven);
            found = compared;
        }
        if !manifest.matviews.is_empty() {
            found.unproven.push("rows of materialized views: a restore computes them anew".into());
        }
        if self.level == VerifyLevel::Rows {
            found.unproven.push("content of the rows: they were only counted".into());
        }
        problems.extend(found.differences);
        problems.dedup();
        let seconds_compare = begun.elapsed();
        self.progress.event(Event::Finished(Phase::Compare, seconds_compare));
        let timings = BTreeMap::from([
            (Phase::Restore.name().to_owned(), seconds),
            (Phase::Compare.name().to_owned(), seconds_compare.as_secs_f64()),
        ]);
        Ok(self.record(manifest, started.0, Some(server.describe()), found.compared, problems, found.unproven, timings))
    }

    /// Reads every stored file and checks its size and SHA-256; restores nothing.
    pub async fn archive_only(&self, manifest: &Manifest) -> Result<Proof> {
        let (started, begun) = (now(), Instant::now());
        self.progress.event(Event::Started(Phase::Compare));
        let read = self.read_back(manifest, started).await;
        self.progress.event(Event::Finished(Phase::Compare, begun.elapsed()));
        read
    }

    /// Reads every stored file, several at a time, and checks its size and SHA-256.
    pub async fn read_back(&self, manifest: &Manifest, started: String) -> Result<Proof> {
        let begun = Instant::now();
        let mut compared = Compared::default();
        let mut problems = self.listed(manifest).await?;
        let reading: Vec<_> = manifest
            .stored_files()
            .map(|file| async move { (file.size, readback::whole(&self.folder, file, None).await) })
            .collect();
        let mut reading = stream::iter(reading).buffered(self.jobs.max(1));
        while let Some((size, read)) = reading.next().await {
            match read {
                Ok(()) => compared.files += 1,
                Err(e) if restore::of_the_archive(&e) => problems.push(e.one_line()),
                Err(e) => return Err(e),
            }
            self.progress.event(Event::Compared(size));
        }
        let timings = BTreeMap::from([(Phase::Compare.name().to_owned(), begun.elapsed().as_secs_f64())]);
        let mut unproven =
            vec!["that the archive restores and holds the source's rows: only its bytes were checked".to_owned()];
        if manifest.encryption.is_some() && !self.folder.has_keys() {
            unproven.push(
                "that it can be decrypted: no identity was given, and its bytes were checked as they are stored".into(),
            );
        }
        Ok(self.record(manifest, started, None, compared, problems, unproven, timings))
    }

    /// What the store's list of the backup's folder says against the manifest: the stored manifest itself, missing and foreign files.
    async fn listed(&self, manifest: &Manifest) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let stored = match manifest_in(self.folder.store(), self.folder.prefix()).await {
            // Names that are hidden are read back as well, where a key is at hand.
            Ok(shown) if self.folder.has_keys() => whole(&self.folder, shown).await,
            stored => stored,
        };
        match stored {
            Ok(stored) if stored == *manifest => {}
            Ok(_) => problems.push("stored file manifest.json: it is not what was stored".into()),
            Err(e) if restore::of_the_archive(&e) => problems.push(e.one_line()),
            Err(e) => return Err(e),
        }
        let there = self.folder.store().list(self.folder.prefix()).await?;
        let mut there: HashMap<&str, u64> =
            there.iter().filter_map(|o| Some((o.key.strip_prefix(self.folder.prefix())?, o.size))).collect();
        for file in manifest.stored_files() {
            if there.remove(file.path.as_str()).is_none() {
                problems.push(format!("stored file {}: it is not in the store", file.path));
            }
        }
        let foreign = |path: &&&str| path.starts_with("archive/");
        let mut foreign: Vec<_> =
            there.keys().filter(foreign).map(|p| format!("stored file {p}: the manifest does not know it")).collect();
        foreign.sort();
        problems.extend(foreign);
        Ok(problems)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one record")]
    fn record(
        &self,
        manifest: &Manifest,
        started_at: String,
        server: Option<crate::vault::proof::ProofServer>,
        compared: Compared,
        differences: Vec<String>,
        unproven: Vec<String>,
        timings: BTreeMap<String, f64>,
    ) -> Proof {
        Proof {
            format: crate::vault::proof::FORMAT,
            backup_id: manifest.id.clone(),
            // Whoever stores the record knows it.
            manifest_sha256: None,
            tool_version: env!("CARGO_PKG_VERSION").into(),
            level: self.level,
            passed: differences.is_empty(),
            started_at,
            finished_at: now(),
            server,
            compared,
            differences,
            unproven,
            equal_to: None,
            timings,
        }
    }

    /// Restores a backup that is stored already, from its manifest: the first half of its proof.
    pub async fn stored(&self, server: &mut Server, manifest: &Manifest) -> Result<Half> {
        let incoming = Incoming::stored(manifest);
        let begin = Begin {
            source: manifest.source.clone(),
            roles: manifest.roles.clone(),
            single_tables: !manifest.options.filter.tables.is_empty(),
            extensions: granted_extensions(&manifest.options.filter, &manifest.extensions),
            own: manifest.own_files().cloned().collect(),
        };
        self.restore(server, begin, incoming).await
    }
}

/// pg_dump takes no extensions as soon as schemas or tables are named.
pub fn granted_extensions(filter: &Filter, extensions: &[Extension]) -> Vec<Extension> {
    if filter.names_a_part() { extensions.to_vec() } else { Vec::new() }
}

/// How psql would reach the throwaway database; without a password.
fn conninfo(target: &crate::postgres::conninfo::Target) -> String {
    let quote = crate::postgres::conninfo::quoted;
    format!(
        "host={} port={} user={} dbname={}",
        quote(&target.host),
        target.port,
        quote(&target.user),
        quote(&target.dbname)
    )
}
