//! What is known of each stored backup without reading its whole manifest: what list, overview and trend are made of.

use super::READS;
use crate::{
    crypt,
    error::{Error, Kind, Result},
    report::format::count,
    store::{Destination, Lock, Store},
    vault::{
        Proof, RunContext, Stored, WHOLE,
        find::{open, scan},
        manifest::Totals,
        read::{check_header, last_proof},
        receipt,
    },
};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};
use time::OffsetDateTime;

/// How a backup's last proof ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ProofState {
    /// It passed.
    Passed,
    /// It did not.
    Failed,
    /// There is none.
    None,
}

/// Manifests up to this size are read whole, in bytes; of larger ones only this much at either end.
const END: u64 = 64 << 10;

/// What the list needs of a manifest.
#[derive(Debug, Deserialize)]
pub(super) struct Brief {
    pub format: u32,
    pub id: String,
    pub tool_version: String,
    pub taken_at: String,
    pub stored_at: String,
    pub source: BriefSource,
    #[serde(default)]
    pub context: RunContext,
    pub options: BriefOptions,
    pub lock: Option<Lock>,
    pub totals: Totals,
    /// Seconds per phase.
    #[serde(default)]
    pub timings: BTreeMap<String, f64>,
    /// The public key that its signature fits.
    pub signed_by: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BriefSource {
    pub host: String,
    pub server_version: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct BriefOptions {
    pub compression: String,
}

/// A backup in the list.
pub(super) struct Row {
    /// Where it was read.
    pub store: Arc<dyn Store>,
    /// The places that hold it, by their numbers.
    pub places: Vec<usize>,
    pub stored: Stored,
    pub brief: Option<Brief>,
    pub proof: Option<Proof>,
    /// Why it is no good backup, or its record no good record.
    pub damage: Vec<String>,
}

impl Row {
    /// Whether it is whole and its last proof restored it.
    pub fn restores(&self) -> bool {
        self.damage.is_empty() && self.proof.as_ref().is_some_and(Proof::proves_a_restore)
    }

    pub fn state(&self) -> ProofState {
        match &self.proof {
            _ if !self.damage.is_empty() => ProofState::Failed,
            Some(proof) if proof.passed && !proof.level.reads_back() => ProofState::None,
            Some(proof) if proof.passed => ProofState::Passed,
            Some(_) => ProofState::Failed,
            None => ProofState::None,
        }
    }
}

/// A place by its number, and what it holds.
pub(super) type OpenedPlace = (usize, Arc<dyn Store>, Vec<Stored>);

/// What each place holds, and a line for each that does not answer.
pub(super) type Opened = (Vec<OpenedPlace>, Vec<String>);

/// Looks into every place. Of those that do not answer another one's list is no less worth.
///
/// # Errors
/// When none answers: why the first does not.
pub(super) async fn opened(places: &[Destination], database: Option<&str>) -> Result<Opened> {
    let (mut opened, mut lost, mut failed) = (Vec::new(), Vec::new(), None);
    for (n, place) in places.iter().enumerate() {
        let looked = async {
            let store = open(place).await?;
            let found = scan(&store, database).await?;
            Ok::<_, Error>((n, store, found))
        };
        match looked.await {
            Ok(looked) => opened.push(looked),
            Err(e) => {
                lost.push(format!("not listed: {}: {}", place.label(), e.one_line()));
                failed = failed.or(Some(e));
            }
        }
    }
    match failed {
        Some(e) if opened.is_empty() => Err(e),
        _ => Ok((opened, lost)),
    }
}

/// Reads what each of these finished backups shows: one row for each, the newest first, with the places that hold it.
pub(super) async fn read_all(found: Vec<(usize, &Arc<dyn Store>, Stored)>) -> Vec<Row> {
    let read = stream::iter(found).map(|(n, store, stored)| read(n, store, stored));
    merged(read.buffered(READS).collect().await)
}

fn merged(read: Vec<Row>) -> Vec<Row> {
    let mut rows: BTreeMap<(OffsetDateTime, String, String), Row> = BTreeMap::new();
    for row in read {
        let key = (row.stored.at, row.stored.id.clone(), row.stored.folder.clone());
        match rows.get_mut(&key) {
            Some(known) => {
                known.places.extend(row.places);
                let named = |why: String| format!("{}: {why}", row.store.uri(&row.stored.folder));
                known.damage.extend(row.damage.into_iter().map(named));
            }
            None => drop(rows.insert(key, row)),
        }
    }
    rows.into_values().rev().collect()
}

async fn read(place: usize, store: &Arc<dyn Store>, stored: Stored) -> Row {
    let (brief, proof) = tokio::join!(brief(store, &stored), last_proof(store, &stored));
    let mut damage = Vec::new();
    let brief = brief.map_err(|e| damage.push(e.one_line())).ok();
    let proof = proof.unwrap_or_else(|e| {
        damage.push(e.one_line());
        None
    });
    if proof.as_ref().is_some_and(|proof| proof.backup_id != stored.id) {
        damage.push("its last proof record is another backup's".into());
    }
    // The listing has the sizes anyway: files that are gone or cut are seen without reading one.
    if let Some(brief) = &brief {
        let (there, named) = (archived(&stored), brief.totals.stored_bytes);
        if there < named {
            damage.push(format!("{} of its {} bytes are missing", count(named - there), count(named)));
        }
    }
    Row { store: store.clone(), places: vec![place], stored, brief, proof, damage }
}

/// Bytes of the files that the manifest names.
fn archived(stored: &Stored) -> u64 {
    let rest = |key: &str| key.strip_prefix(&stored.folder).unwrap_or_default().to_owned();
    let counts = |key: &str| {
        let name = rest(key);
        let beside = name.starts_with("proofs/") || !name.contains('/') && receipt::is_signature(&name);
        name != "manifest.json" && crypt::bare(&name) != WHOLE && !beside
    };
    stored.objects.iter().filter(|o| counts(&o.key)).map(|o| o.size).sum()
}

/// Reads what the list needs of a manifest. The frames of a large database make it many megabytes, and they stand in its middle.
async fn brief(store: &Arc<dyn Store>, stored: &Stored) -> Result<Brief> {
    let key = format!("{}manifest.json", stored.folder);
    let size = stored.objects.iter().find(|o| o.key == key).map_or(0, |o| o.size);
    let mut found = None;
    if size > 2 * END {
        let (head, tail) = tokio::try_join!(async { store.open(&key, Some(0..END)).await?.bytes().await }, async {
            store.open(&key, Some(size - END..size)).await?.bytes().await
        },)?;
        found = without_middle(&head, &tail).and_then(|ends| serde_json::from_slice(&ends).ok());
    }
    let brief: Brief = match found {
        Some(brief) => brief,
        None => {
            let bytes = store.open(&key, None).await?.bytes().await?;
            let damaged = |e| Error::new(Kind::Archive, format!("stored file {key}: it is no manifest")).because(e);
            serde_json::from_slice(&bytes).map_err(damaged)?
        }
    };
    check_header(stored, brief.format, &brief.id)?;
    Ok(brief)
}

/// The fields before the files and those from the totals on, as one object. No line break stands inside a JSON string, so a line
/// that begins with two blanks and a name is a field of the outermost object.
fn without_middle(head: &[u8], tail: &[u8]) -> Option<Vec<u8>> {
    let find = |text: &[u8], line: &[u8]| text.windows(line.len()).position(|w| w == line);
    let head = head.get(..find(head, b"\n  \"files\": [")?)?;
    let tail = tail.get(find(tail, b"\n  \"totals\": {")?..)?;
    Some([head, tail].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::fixture, vault::manifest::Frame};

    #[test]
    fn a_large_manifest_is_known_by_its_ends() {
        let Some(backup) = fixture::proven().backup else { panic!("is stored") };
        let mut manifest = backup.manifest;
        // A name that looks like the end of the head.
        manifest.left_out.push("x\n  \"files\": [\n  \"totals\": {".into());
        let frame = Frame { offset: 0, length: 1, sha256: "ab".repeat(32) };
        manifest.tables[0].chunks = vec![crate::vault::manifest::Chunk {
            pages: None,
            rows: 1,
            bytes: 1,
            fingerprint: String::new(),
            frames: vec![frame; 5000],
        }];
        let end = END as usize;
        let sealed = manifest.clone().seal().expect("is JSON");
        // As earlier versions wrote it.
        let whole = serde_json::to_vec_pretty(&manifest).expect("is JSON");
        for whole in [&sealed, &whole] {
            assert!(whole.len() > 4 * end);
            let ends = without_middle(&whole[..end], &whole[whole.len() - end..]).expect("has both ends");
            assert!(ends.len() < 2 * end);
            let brief: Brief = serde_json::from_slice(&ends).expect("is a manifest");
            assert_eq!((brief.id, brief.totals), (manifest.id.clone(), manifest.totals.clone()));
        }
        // Written by another program, or cut: read whole.
        let compact = serde_json::to_vec(&manifest).expect("is JSON");
        assert!(without_middle(&compact[..end], &compact[compact.len() - end..]).is_none());
        let cut = without_middle(&whole[..end], &whole[whole.len() - 2 * end..whole.len() - end]);
        assert!(cut.is_none());
    }
}
