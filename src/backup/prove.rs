//! Prove: the restored copy is compared, and the record of the proof is stored. Whatever goes wrong here, the backup is stored.

use super::{commit::Committed, copies, dump::prover, ground::Ground};
use crate::{
    clock::now,
    error::{Error, Result, joined},
    postgres::conninfo::Target,
    progress::{Event, Progress},
    report::format::{count, counted},
    store::Acknowledged,
    vault::{
        Manifest, Proof, VerifyLevel,
        proof::{self, Beside},
    },
};
use std::{collections::BTreeMap, path::PathBuf};

/// A restored copy in which every row is the source's.
pub(super) struct Proven {
    pub target: Target,
    /// The stored table of contents, as it lies here.
    pub toc: PathBuf,
    pub manifest: Manifest,
}

/// Finishes the proof and stores its record. Returns the restored copy where it was proven.
///
/// # Errors
/// When the proof could not be finished. A proof that found differences is none: it stands in the record.
pub(super) async fn prove(ground: &Ground<'_>, committed: Committed) -> Result<Option<Proven>> {
    let mut copy = None;
    let Committed { folder, manifest, manifest_sha256, unproven, restoring } = committed;
    let level = ground.config.verify;
    let (prover, begun) = (prover(ground, &folder), now());
    let found = match (level, restoring) {
        (VerifyLevel::None, _) => {
            copies::prove(ground, folder.prefix(), (&manifest, &manifest_sha256), None).await?;
            return Ok(None);
        }
        (VerifyLevel::Sent, _) => Ok(sent(&manifest, ground.store.acknowledged(), begun.clone())),
        (_, None) => prover.archive_only(&manifest).await,
        (_, Some(restoring)) => {
            let half = joined("restoring", restoring.await);
            match half {
                Ok(half) => {
                    copy = Some((half.target().clone(), half.toc_path()));
                    prover.compare(ground.traces.hold_server().server()?, &manifest, half).await
                }
                Err(e) => Err(e),
            }
        }
    };
    let found = match ground.traces.hold_server().server() {
        Ok(server) => server.judge(found),
        Err(_) => found,
    };
    // A proof that could not be finished is a failed proof, with its reason.
    let (mut found, broken) = match found {
        Ok(found) => (found, None),
        Err(e) => (unfinished(&manifest, level, begun, &e), Some(e)),
    };
    found.unproven.extend(unproven);
    // Of the place that was read, and of no other.
    let read = ground.store.copies().map_or_else(|| Ok(ground.store.clone()), |copies| copies.first().cloned())?;
    let beside = Beside {
        store: &read,
        folder: folder.prefix(),
        hides_names: manifest.hidden().is_some(),
        manifest_sha256: &manifest_sha256,
        signer: ground.config.signer.as_ref(),
    };
    let stored = proof::record(beside, &found).await;
    let uri = stored.as_ref().ok().map(|key| read.uri(key));
    ground.traces.result(|r| {
        r.proof = Some(found.clone());
        if let Some(committed) = &mut r.committed {
            committed.proof_uri = uri;
        }
    });
    if let Err(e) = stored {
        ground.progress.event(Event::Warning(&e.context("the proof record was not stored").one_line()));
    }
    // Of what may not be read nothing more is to be said.
    let read = (level != VerifyLevel::Sent).then_some(&found);
    copies::prove(ground, folder.prefix(), (&manifest, &manifest_sha256), read).await?;
    match broken {
        Some(e) => Err(e.context("the backup is stored, but its proof could not be finished")),
        None => Ok(copy.filter(|_| found.passed).map(|(target, toc)| Proven { target, toc, manifest })),
    }
}

/// What is known of a backup that the run may not read back.
fn sent(manifest: &Manifest, answers: Acknowledged, started_at: String) -> Proof {
    let mut unproven = vec![format!(
        "that it can be read, and restores: nothing was read back; with a key that may read, savepoint verify {} proves it",
        manifest.id
    )];
    if manifest.encryption.is_some() {
        unproven.push("that it decrypts: what was compared in memory is what was encrypted".into());
    }
    match answers {
        Acknowledged { equal: 0, silent: 0 } => {
            unproven.push("that the destination took what it was sent: it answers with no checksums".into());
        }
        Acknowledged { silent: 0, .. } => {}
        Acknowledged { equal, silent } => unproven.push(format!(
            "that the destination took what it was sent, for {} of {}: it answered with no checksum that can be compared",
            count(silent),
            counted(equal + silent, "request")
        )),
    }
    Proof {
        format: proof::FORMAT_OF_SENT,
        level: VerifyLevel::Sent,
        passed: true,
        differences: Vec::new(),
        unproven,
        ..record(manifest, started_at)
    }
}

fn unfinished(manifest: &Manifest, level: VerifyLevel, started_at: String, e: &Error) -> Proof {
    let differences = vec![format!("the proof could not be finished: {}", e.one_line())];
    Proof { level, differences, ..record(manifest, started_at) }
}

/// A record of a proof that compared nothing.
fn record(manifest: &Manifest, started_at: String) -> Proof {
    Proof {
        format: proof::FORMAT,
        backup_id: manifest.id.clone(),
        manifest_sha256: None,
        tool_version: env!("CARGO_PKG_VERSION").into(),
        level: VerifyLevel::None,
        passed: false,
        started_at,
        finished_at: now(),
        server: None,
        compared: Default::default(),
        differences: Vec::new(),
        unproven: Vec::new(),
        equal_to: None,
        timings: BTreeMap::new(),
    }
}
