//! The other places of a backup that was stored in several: each is read back byte by byte, or restored from.

use super::{BackupConfig, dump::prover, ground::Ground};
use crate::{
    clock::now,
    crypt::Identities,
    drill::{self, VerifyConfig},
    error::{Error, Kind, Result, joined},
    progress::{Event, Phase, Progress},
    report::{CopyState, StoredCopy},
    store::{Destination, Store, copies::Member},
    vault::{
        Folder, Manifest, Pick, Proof, VerifyLevel,
        proof::{self, Beside},
    },
    verify::Prover,
};
use std::sync::Arc;

/// What to do about a copy that is none.
const CURE: &str = "find out who writes there; savepoint copy makes the copy anew";

/// What becomes of each other place is told, whatever it is. `manifest`: with the SHA-256 of its bytes; `proof`: of the first place; `None` where none was asked for.
///
/// # Errors
/// When fewer places hold it than must.
pub(super) async fn prove(
    ground: &Ground<'_>,
    prefix: &str,
    manifest: (&Manifest, &str),
    proof: Option<&Proof>,
) -> Result<()> {
    let Some(copies) = ground.store.copies() else { return Ok(()) };
    let phase = ground.progress.begin(Phase::Copies);
    let first = copies.first_intact();
    // What the proof read before the first place was lost, it read there.
    let unread = |n: usize| Some(n) != first || first != ground.first;
    for (n, Member { place, store, lost }) in copies.members().into_iter().enumerate() {
        let told = |state, why: Option<String>, hint| {
            let uri = store.as_ref().map(|store| store.uri(prefix));
            let copy = StoredCopy { destination: place.label(), uri, state, why, hint };
            ground.traces.result(|r| r.copies.push(copy));
        };
        match (&store, lost, proof) {
            (_, Some(lost), _) => told(CopyState::Failed, Some(lost.why), lost.hint),
            (Some(store), None, Some(proof)) if unread(n) => {
                match prove_one(ground, &place, store, prefix, manifest, proof).await {
                    Ok(state) => told(state, None, None),
                    Err(e) => {
                        told(CopyState::Failed, Some(e.one_line()), e.hint_text().map(str::to_owned));
                        copies.lose(n, e)?;
                    }
                }
            }
            (_, None, Some(proof)) if proof.passed => told(CopyState::Proven, None, None),
            _ => told(CopyState::Stored, None, None),
        }
    }
    phase.end();
    Ok(())
}

/// Proves one place, and stores the record there.
async fn prove_one(
    ground: &Ground<'_>,
    place: &Destination,
    store: &Arc<dyn Store>,
    prefix: &str,
    (manifest, manifest_sha256): (&Manifest, &str),
    first: &Proof,
) -> Result<CopyState> {
    let keys = ground.sealing.as_ref().map(|sealing| sealing.key().clone());
    let folder = Folder::new(store.clone(), prefix).telling(ground.progress.clone()).opened_by(keys.clone());
    if ground.config.verify_all && first.level.restores() {
        return restore(ground, place, &manifest.id, keys).await.map(|()| CopyState::Proven);
    }
    let prover = Prover { level: VerifyLevel::Archive, ..prover(ground, &folder) };
    let read = prover.read_back(manifest, now()).await?;
    // The same bytes were restored and compared.
    let record = match read.passed && first.passed {
        true => Proof { equal_to: Some(ground.store.uri(prefix)), ..first.clone() },
        false => read.clone(),
    };
    let beside = Beside {
        store,
        folder: prefix,
        hides_names: manifest.hidden().is_some(),
        manifest_sha256,
        signer: ground.config.signer.as_ref(),
    };
    if let Err(e) = proof::record(beside, &record).await {
        ground.progress.event(Event::Warning(&e.context("the proof record was not stored").one_line()));
    }
    equal(&read).map(|()| CopyState::Equal)
}

/// Restores it, as `savepoint verify` does.
async fn restore(ground: &Ground<'_>, place: &Destination, id: &str, identity: Option<Identities>) -> Result<()> {
    let BackupConfig { verify: level, verify_url, guard, engine, .. } = ground.config;
    let config = VerifyConfig {
        level: *level,
        verify_url: verify_url.clone(),
        guard: guard.clone(),
        identity,
        signer: ground.config.signer.clone(),
        engine: engine.clone(),
        ..VerifyConfig::new(Pick::id(id), place.clone())
    };
    // A task of its own, which cleans up behind itself when the run is broken off; whoever cleans up behind the run waits for it.
    let (progress, cancel) = (ground.progress.clone(), ground.cancel.clone());
    let drilling = ground.traces.tracker().spawn(async move { Ok(drill::run(&config, progress, cancel).await) });
    let page = joined("restoring the copy", drilling.await)?;
    if page.exit_code == 0 {
        return Ok(());
    }
    let why = page.failure.map_or(page.headline, |failure| failure.message);
    Err(Error::new(Kind::Proof, why).hint(CURE))
}

fn equal(proof: &Proof) -> Result<()> {
    let Some(difference) = proof.differences.first() else { return Ok(()) };
    let more = proof.differences.len() - 1;
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    Err(Error::new(Kind::Proof, format!("{difference}{more}")).hint(CURE))
}
