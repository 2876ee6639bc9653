//! From a stored backup, or a file that pg_dump wrote, into a target: plan, check, restore, compare, and only then replace.
//!
//! Nothing that stands in the target is touched before everything stored was checked, and a database is replaced only by one that was
//! restored beside it and compared: whoever kills this program at any moment finds the old database as it was.

mod check;
mod config;
mod find;
mod ground;
mod load;
pub mod part;
mod place;
mod plan;
mod rights;
mod run;
mod safety;
pub mod target;
mod tell;
mod traces;
mod what;

pub use config::{Owners, Place, RestoreConfig};

use crate::cancel::Cancel;
use crate::{
    error::{Error, Kind, Result},
    preflight,
    progress::{Event, Phase, Progress},
    report::page::Page,
    scratch::Scratch,
    vault::Manifest,
    verify::restore::Part,
};
use run::{Archive, Ground, Run};
use std::{path::Path, sync::Arc, time::Instant};
use traces::{Recorder, Shared, clean_up, with};

/// Restores, and tells of it. Cleans up behind itself, also when cancelled: then the target is as it was.
pub async fn run(config: &RestoreConfig, progress: Arc<dyn Progress>, cancel: Cancel) -> Page {
    let begun = Instant::now();
    let recorder = Recorder::new(progress);
    let traces: Shared = Arc::default();
    let run = Run { config, progress: recorder.clone(), traces: traces.clone(), begun, cancel: cancel.clone() };
    let worked = cancel.unless(run.work(), || cancel.error().hint("the target is as it was: run it again")).await;
    clean_up(&traces, worked.is_err(), &cancel, &*recorder).await;
    let (phase, warnings) = recorder.take();
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

/// What a restore begins with: the archive, all else that it stands on, and of a backup of ours what of it is restored.
type Sound = (Archive, Ground, Option<(Part, Manifest)>);

impl Run<'_> {
    /// Finds what is meant, plans, and but for a dry run checks all of it. Of several places one whose copy is damaged gives way to the next
    /// that holds the same backup.
    async fn sound(&self, folder: &Path) -> Result<Sound> {
        let mut meant = self.meant();
        loop {
            let failed = match self.archive(&meant, folder).await {
                Ok(archive) => {
                    let (ground, stored) = self.plan(&archive).await?;
                    match self.checked(archive).await {
                        Ok(archive) => return Ok((archive, ground, stored)),
                        Err(e) => e,
                    }
                }
                Err(e) => e,
            };
            // Damaged, out of reach, or not proven.
            if !matches!(failed.kind(), Kind::Archive | Kind::Store | Kind::Refused) {
                return Err(failed);
            }
            let Some((next, good)) = self.another(meant.damaged).await else { return Err(failed) };
            let bad = next.damaged.last().map_or("", String::as_str);
            let line = format!("{bad}: {}; the copy in {good} is taken in its place", failed.message());
            self.progress.event(Event::Warning(&line));
            meant = next;
        }
    }

    /// Checks all of it, but for a dry run.
    async fn checked(&self, mut archive: Archive) -> Result<Archive> {
        if self.config.dry_run {
            return Ok(archive);
        }
        if let Archive::File(file) = &archive {
            file.trusted(self.config.trust_file, "")?;
        }
        if let Archive::Stored(backup) = &mut archive {
            let begun = Instant::now();
            self.progress.event(Event::Started(Phase::Preflight));
            backup.read = Arc::new(self.check(backup).await?);
            self.progress.event(Event::Finished(Phase::Preflight, begun.elapsed()));
        }
        Ok(archive)
    }

    /// The stages in their order.
    async fn work(&self) -> Result<Page> {
        self.progress.event(Event::Started(Phase::Preflight));
        preflight::descriptors(self.config.engine.jobs)?;
        let scratch = Scratch::create(self.config.engine.scratch_dir.as_deref())?;
        let folder = scratch.path().to_owned();
        with(&self.traces, |t| t.scratch = Some(scratch));
        for line in Scratch::sweep(self.config.engine.scratch_dir.as_deref()) {
            self.progress.event(Event::Notice(&line));
        }
        let (archive, ground, stored) = self.sound(&folder).await?;
        if self.config.dry_run {
            return Ok(self.dry(&ground, &archive));
        }
        let encrypted = match &archive {
            Archive::Stored(backup) => backup.manifest.encryption.as_ref().map(|e| e.manifest.is_some()),
            Archive::File(_) => None,
        };
        let safety = if ground.plan.safety { Some(self.safety(&ground, encrypted).await?) } else { None };
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
            self.put_into_place(&ground, &archive, &dbname, &mut page).await?;
        } else {
            self.keep_for_study(&ground, &dbname, &mut page).await?;
        }
        Ok(page)
    }
}
