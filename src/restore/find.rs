//! What is meant: a stored backup that is proven, or a file that pg_dump wrote.

use super::{
    config::Owners,
    plan,
    run::{Archive, Backup, Run},
    traces::with,
};
use crate::{
    archive::pack,
    crypt::{self, Opener},
    dumpfile::{self, Format},
    error::{self, Error, Kind, Result},
    progress::{Event, Progress},
    store::{self, Destination, Store},
    vault::{
        Folder, Pick, Which,
        find::{self, scan},
        folder::no_identity,
        read::{Signed, last_proof_of, signed, whole},
    },
    verify::{self, readback},
};
use bytes::BytesMut;
use futures_util::TryStreamExt;

use std::{path::Path, sync::Arc};

use tokio::io::AsyncWriteExt;

/// What is meant, and where it may lie.
pub(super) struct Meant {
    pub pick: Pick,
    pub destination: Option<Destination>,
    /// Labels of places whose copy of it is damaged.
    pub damaged: Vec<String>,
}

impl Run<'_> {
    pub(super) fn meant(&self) -> Meant {
        let config = self.config;
        Meant { pick: config.pick.clone(), destination: config.destination.clone(), damaged: Vec::new() }
    }

    /// The same backup in a place that was not tried, and that place's label.
    pub(super) async fn another(&self, mut damaged: Vec<String>) -> Option<(Meant, String)> {
        let (id, here) = with(&self.traces, |t| Some((t.backup_id.clone()?, t.place.clone()?)))?;
        damaged.push(here);
        let pick = Pick { which: Which::Id(id), ..Pick::latest() };
        let untried = self.config.destination.as_ref()?.each().into_iter().filter(|p| !damaged.contains(&p.label()));
        let found = find::place(&Destination::several(untried.collect())?, &pick).await.ok()?;
        let label = found.destination.label();
        with(&self.traces, |t| t.facts.clear());
        Some((Meant { pick, destination: Some(found.destination), damaged }, label))
    }

    /// What is meant, looked at as far as must be before anything is decided.
    pub(super) async fn archive(&self, meant: &Meant, folder: &Path) -> Result<Archive> {
        if let Which::File(path) = &meant.pick.which {
            return self.examined(path).await;
        }
        self.backup(meant, folder).await
    }

    pub(super) async fn examined(&self, path: &Path) -> Result<Archive> {
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
    pub(super) async fn backup(&self, meant: &Meant, scratch: &Path) -> Result<Archive> {
        let destination = meant.destination.as_ref();
        let destination = destination.ok_or_else(|| Error::new(Kind::Usage, "option destination: not set"))?;
        let place = match find::place(destination, &meant.pick).await {
            Err(e) if e.kind() == Kind::NotFound => {
                let store = store::open(&destination.each()[0]).await?;
                return self.without_manifest(&store, &meant.pick, e, scratch).await;
            }
            place => place?,
        };
        let (store, found) = (place.store, place.found);
        place.passed_over.iter().for_each(|line| self.progress.event(Event::Warning(line)));
        found.strangers.iter().for_each(|line| self.progress.event(Event::Warning(line)));
        let stored = found.backups.into_iter().next_back().ok_or_else(|| Error::new(Kind::NotFound, "no backup"))?;
        with(&self.traces, |t| {
            t.backup_id = Some(stored.id.clone());
            t.place = Some(place.destination.label());
            t.facts.push(("backup", stored.id.clone()));
        });
        let trusted = self.config.verify_key.as_ref();
        let signed = signed(&store, &stored, trusted).await?;
        if let Some(line) = signed.receipt.warning(&format!("backup {}", stored.id)) {
            self.progress.event(Event::Warning(&line));
        }
        let keys = self.config.identity.clone();
        if signed.manifest.encryption.is_some() && keys.is_none() {
            return Err(no_identity(&format!("backup {}", stored.id)));
        }
        let proof = match last_proof_of(&store, &stored, &signed, trusted).await {
            // It proves nothing, as if there were none.
            Err(e) if e.kind() == Kind::Archive && self.config.force_unproven => {
                self.progress.event(Event::Warning(&e.one_line()));
                None
            }
            proof => proof?,
        };
        let proof = plan::gate(&signed.manifest, proof.as_ref(), self.config.force_unproven)?;
        let (folder, local) = (Folder::new(store, stored.folder).opened_by(keys), scratch.join("toc.dat"));
        let Signed { manifest, receipt, .. } = signed;
        let manifest = whole(&folder, manifest).await?;
        readback::whole(&folder, manifest.toc()?, Some(&local)).await?;
        let toc = verify::restore::read_toc(&local)?;
        Ok(Archive::Stored(Box::new(Backup { folder, manifest, receipt, proof, toc, read: Arc::default() })))
    }

    /// A folder that an id names but that holds no manifest is told apart from nothing at all; what is left of its archive is restored
    /// as any other folder of pg_dump's when that is asked for.
    pub(super) async fn without_manifest(
        &self,
        store: &Arc<dyn Store>,
        pick: &Pick,
        not_found: Error,
        scratch: &Path,
    ) -> Result<Archive> {
        let Which::Id(id) = &pick.which else { return Err(not_found) };
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
        if self.config.verify_key.is_some() {
            let message = format!("backup {id} has no manifest.json, and so nothing that could be signed");
            return Err(Error::new(Kind::Archive, message).hint(
                "restore what is left of it without verify-key, if you trust whoever writes to the destination",
            ));
        }
        with(&self.traces, |t| t.backup_id = Some(id.clone()));
        let prefix = format!("{}archive/", stored.folder);
        let folder = scratch.join("archive");
        std::fs::create_dir_all(&folder).map_err(error::io(format!("cannot create {}", folder.display())))?;
        for object in stored.objects.iter().filter(|o| !o.key.trim_start_matches(&prefix).contains('/')) {
            let Some(name) = object.key.strip_prefix(&prefix) else { continue };
            let bare = crypt::bare(name);
            let path = folder.join(bare);
            let failed = || error::io(format!("cannot write {}", path.display()));
            let mut file = tokio::fs::File::create(&path).await.map_err(failed())?;
            let mut reader = store.open(&object.key, None).await?;
            let mut opener = match (&self.config.identity, name == bare) {
                (_, true) => None,
                (Some(keys), _) => Some(Opener::new(name, keys, true)),
                (None, _) => return Err(no_identity(&format!("backup {id}"))),
            };
            while let Some(bytes) = reader.stream.try_next().await? {
                let bytes = match &mut opener {
                    Some(opener) => opener.feed_all(&bytes)?,
                    None => bytes,
                };
                file.write_all(&bytes).await.map_err(failed())?;
            }
            if let Some(opener) = opener {
                let mut rest = BytesMut::new();
                opener.end(&mut rest)?;
                file.write_all(&rest).await.map_err(failed())?;
            }
            file.flush().await.map_err(failed())?;
            if pack::is_pack(bare) {
                pack::unpack(&path, &folder)?;
                std::fs::remove_file(&path).map_err(failed())?;
            }
        }
        self.examined(&folder).await
    }

    pub(super) fn options(&self) -> dumpfile::Options {
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
}
