//! Every stored file that is wanted is read and checked before the target is touched.

use super::run::{Backup, Run};
use crate::{
    archive::toc::Toc,
    error::{Error, Kind, Result},
    vault::manifest::File,
    verify::{
        readback,
        restore::{Part, check_entries, of_the_archive},
        streams::{AHEAD, AHEAD_BYTES},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use std::collections::HashMap;

/// Small stored files that are kept in memory between their check and their restore.
const KEPT_BYTES: u64 = 32 << 20;

impl Run<'_> {
    /// Reads every stored file once and holds it against the manifest. Returns small ones, so that they need not be read again.
    pub(super) async fn check(&self, backup: &Backup) -> Result<HashMap<String, Bytes>> {
        let manifest = &backup.manifest;
        let mut problems = check_entries(&backup.toc, manifest);
        let files: HashMap<&str, &File> = manifest.files.iter().map(|f| (f.path.as_str(), f)).collect();
        for table in &manifest.tables {
            match table.stored_in().map(|path| files.get(path).map(|file| readback::tiles(table, file))) {
                None | Some(Some(Ok(_))) => {}
                Some(Some(Err(e))) => problems.push(e.one_line()),
                Some(None) => {
                    problems.push(format!("table {}.{}: the manifest lacks its file", table.schema, table.name))
                }
            }
        }
        for chunk in &manifest.large_object_chunks {
            let problem = match files.get(chunk.file.as_str()).map(|file| readback::tile(file, &chunk.frames)) {
                None => format!("large objects {} to {}: the manifest lacks their file", chunk.first, chunk.last),
                Some(Err(e)) => e.one_line(),
                Some(Ok(())) => continue,
            };
            problems.push(problem);
        }
        let (folder, mut room) = (&backup.folder, KEPT_BYTES);
        let (small, large): (Vec<&File>, Vec<&File>) = manifest.files.iter().partition(|file| {
            let keep = file.size <= AHEAD_BYTES && file.size <= room;
            room -= if keep { file.size } else { 0 };
            keep
        });
        let small = stream::iter(small)
            .map(async |file| Ok(Some((file.path.clone(), readback::small(folder, file).await?))))
            .buffer_unordered(AHEAD);
        let large = stream::iter(large)
            .map(async |file| readback::whole(folder, file, None).await.map(|()| None))
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

    /// Whether a part needs a file that pg_dump wrote.
    pub(super) fn is_wanted(&self, name: &str, toc: &Toc, part: &Part) -> bool {
        let Some(entries) = &part.entries else { return true };
        let stem = name.find(".dat").map_or(name, |at| &name[..at + 4]);
        toc.entries
            .iter()
            .any(|e| entries.contains(&e.dump_id) && e.filename.as_deref() == Some(stem.as_bytes()) && !stem.is_empty())
    }
}
