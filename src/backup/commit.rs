//! Commit: everything is stored, so the manifest is written, only if absent. From then on it is a backup.

use super::{beside, dump::Taken, ground::Ground};
use crate::{
    archive::schema,
    clock::{now, stamp},
    dump::{pg_dump, plan::Plan},
    error::{Error, Kind, Result},
    inventory::anomalies::{self, Beside},
    progress::{Event, Phase, Progress},
    report::StoredBackup,
    sign::Signer,
    vault::{
        Folder, MANIFEST, Manifest, VerifyLevel, WHOLE,
        manifest::{Encryption, File, LargeObjectChunk, Options, Table, Totals},
        receipt,
    },
    verify::Half,
};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// A backup that is committed and not yet proven.
pub(super) struct Committed {
    pub folder: Folder,
    pub manifest: Manifest,
    /// SHA-256 of `manifest.json`.
    pub manifest_sha256: String,
    /// What a proof cannot cover, known from the plan.
    pub unproven: Vec<String>,
    pub restoring: Option<AbortOnDropHandle<Result<Half>>>,
}

/// Writes the manifest. `so_far`: what the run took until here.
pub(super) async fn commit(ground: &Ground<'_>, taken: Taken, so_far: Duration) -> Result<Committed> {
    let phase = ground.progress.begin(Phase::Commit);
    complete(&taken.plan, &taken.tables)?;
    let (sequences, nameless) = pg_dump::sequences(&taken.own.toc, &taken.seen.sequence_names)?;
    let (files, left_out) = listed(
        ground,
        taken.files,
        taken.own.files.into_iter().chain(taken.own.database),
        taken.beside,
        taken.plan.left_out,
    );
    let mut tables = taken.tables;
    tables.sort_by(|a, b| (&a.schema, &a.name, a.oid).cmp(&(&b.schema, &b.name, b.oid)));
    let total = [("total".to_owned(), so_far.as_secs_f64())];
    let mut manifest = Manifest {
        format: Manifest::version(ground.sealing.is_some()),
        id: taken.address.id,
        kind: ground.config.kind,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        taken_at: stamp(taken.taken_at),
        stored_at: now(),
        source: taken.source,
        context: ground.config.context.clone(),
        options: Options {
            jobs: ground.jobs as u32,
            compression: taken.compression.to_string(),
            filter: ground.config.filter.clone(),
            verify: if ground.sent() { VerifyLevel::None } else { ground.config.verify },
            sent: ground.sent(),
            pg_dump: ground.tools.version.clone(),
        },
        encryption: ground.sealing.as_ref().map(|s| Encryption { recipients: s.recipients().texts(), manifest: None }),
        signed_by: ground.config.signer.as_ref().map(|s| s.public().text().to_owned()),
        lock: ground.store.locks(),
        left_out,
        totals: totals(&tables, &taken.large_objects, &files),
        files,
        sequences,
        schema_digest: schema::digest(&taken.own.toc),
        tables,
        large_objects: Vec::new(),
        large_object_chunks: taken.large_objects,
        matviews: taken.seen.matviews,
        extensions: ground.extensions.clone(),
        roles: taken.own.roles,
        timings: ground.progress.seconds().into_iter().chain(total).collect(),
        refused: Vec::new(),
        digest: String::new(),
    };
    // Before the commit: the manifest says what the next run has to know.
    if ground.config.anomaly.fail {
        manifest.refused = compare_with_before(ground, &manifest).await;
    }
    let hide = ground.config.encryption.as_ref().is_some_and(|e| e.manifest);
    let manifest_sha256 = store(&taken.folder, &mut manifest, hide, ground.config.signer.as_ref()).await?;
    ground.traces.result(|r| {
        r.committed = Some(StoredBackup {
            uri: taken.folder.uri(""),
            manifest_uri: taken.folder.uri(MANIFEST),
            manifest_sha256: manifest_sha256.clone(),
            signature_uri: manifest.signer().map(|key| taken.folder.uri(&receipt::name(MANIFEST, &key))),
            proof_uri: None,
            manifest: manifest.clone(),
        });
    });
    phase.end();
    let unproven = taken.plan.unproven.into_iter().chain(nameless).collect();
    Ok(Committed { folder: taken.folder, manifest, manifest_sha256, unproven, restoring: taken.restoring })
}

/// The commit point; the SHA-256 of what was stored. `hide`: names stand in an encrypted file beside it. A signature goes first: a manifest
/// that should be signed is never there without.
async fn store(folder: &Folder, manifest: &mut Manifest, hide: bool, signer: Option<&Signer>) -> Result<String> {
    let mut body = manifest.seal()?;
    if hide {
        let whole = folder.put(WHOLE, body.into()).await.map_err(|e| e.context("the manifest was not stored"))?;
        body = manifest.shown(whole.clone()).seal()?;
        if let Some(encryption) = &mut manifest.encryption {
            encryption.manifest = Some(whole);
        }
    }
    let (key, sha256) = (folder.key(MANIFEST), hex::encode(Sha256::digest(&body)));
    if let Some(signer) = signer {
        let signed = receipt::put(folder.store(), signer, &key, &body, &manifest.id).await;
        signed.map_err(|e| e.context("the manifest's signature was not stored"))?;
    }
    let stored = folder.store().put_new(&key, body.into()).await;
    stored.map_err(|e| e.context("the manifest was not stored"))?;
    Ok(sha256)
}

/// Every table that was planned must have come back.
fn complete(plan: &Plan, tables: &[Table]) -> Result<()> {
    let there: std::collections::BTreeSet<u32> = tables.iter().map(|t| t.oid).collect();
    match plan.streams.iter().find(|t| !there.contains(&t.relation.oid)) {
        Some(missing) => {
            Err(Error::new(Kind::Archive, format!("table {} was planned but not stored", missing.relation.label())))
        }
        None => Ok(()),
    }
}

/// The manifest's list of files in order of their paths, and of what was left out.
fn listed(
    ground: &Ground<'_>,
    tables: Vec<File>,
    own: impl IntoIterator<Item = File>,
    beside: Vec<beside::Taken>,
    mut left_out: Vec<String>,
) -> (Vec<File>, Vec<String>) {
    let mut files: Vec<File> = tables.into_iter().chain(own).collect();
    for taken in beside {
        match taken {
            beside::Taken::Stored(stored) => files.extend(stored),
            beside::Taken::LeftOut(why) => {
                ground.progress.event(Event::Notice(&why));
                left_out.push(why);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    (files, left_out)
}

fn totals(tables: &[Table], large_objects: &[LargeObjectChunk], files: &[File]) -> Totals {
    Totals {
        tables: tables.len() as u64,
        rows: tables.iter().map(|t| t.rows).sum(),
        bytes: tables.iter().map(|t| t.bytes).sum::<u64>() + large_objects.iter().map(|o| o.bytes).sum::<u64>(),
        stored_bytes: files.iter().map(|f| f.size).sum(),
    }
}

/// Compares with the backup before. That this cannot be done is a warning.
pub(super) async fn compare_with_before(ground: &Ground<'_>, manifest: &Manifest) -> Vec<String> {
    let progress = &ground.progress;
    if ground.sent() {
        progress.event(Event::Notice("not compared with the backup before: the key may only put (verify sent)"));
        return Vec::new();
    }
    match anomalies::beside(&ground.store, manifest, &ground.config.anomaly).await {
        Ok(Beside::First) => {}
        Ok(Beside::Compared { anomalies, fewer_rows, before }) => {
            if let Some(line) = fewer_rows {
                progress.event(Event::Notice(&line));
            }
            ground.traces.result(|r| (r.anomalies, r.before) = (anomalies.clone(), Some(before)));
            return anomalies;
        }
        Ok(Beside::Hidden(id)) => progress
            .event(Event::Notice(&format!("not compared with the backup before, {id}: what is in it is encrypted"))),
        Ok(Beside::Other(id)) => progress
            .event(Event::Notice(&format!("not compared with the backup before, {id}: its filter was another one"))),
        Err(e) => progress.event(Event::Warning(&e.context("not compared with the backup before").one_line())),
    }
    Vec::new()
}
