//! The restored copy against the manifest: rows, sequences, large objects, materialized views, schema.

pub use super::comparison::Comparison;

use super::{
    restore::{self, Granted, Restore},
    rows,
};
use crate::{
    archive::{schema, toc::Toc},
    dump::{catalog, snapshot},
    error::{Error, Result},
    postgres::{
        answer,
        connect::Session,
        conninfo::Target,
        quote::qualified,
        tools::{Run, Stdout, Tools},
    },
    progress::{Event, Progress},
    vault::{
        Manifest, VerifyLevel,
        manifest::{LargeObject, Sequence},
    },
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// Bytes of a large object that are read at a time.
const LARGE_OBJECT_STEP: u64 = 8 << 20;

/// Compares the restored database with the manifest.
pub async fn compare(restore: &Restore, manifest: &Manifest, level: VerifyLevel) -> Result<Comparison> {
    let mut found = Comparison::default();
    rows::compare(restore, manifest, level, &mut found).await?;
    let session = snapshot::reading_session(&restore.target, restore.major, &restore.encoding).await?;
    sequences(&session, &manifest.sequences, &mut found).await?;
    if restore.part.is_whole() {
        let owners = !restore.part.no_owner;
        match manifest.large_objects.as_slice() {
            [] => super::large_objects::compare(restore, manifest, owners, &mut found).await?,
            of_format_1 => large_objects(&session, of_format_1, owners, &mut found).await?,
        }
    }
    matviews(&session, manifest, &mut found).await?;
    for now in catalog::extensions(&session).await? {
        let was = manifest.extensions.iter().find(|e| e.name == now.name && e.version != now.version);
        if let Some(was) = was {
            let (name, was, now) = (&now.name, &was.version, &now.version);
            found.unproven.push(format!("extension {name}: proven with version {now}, the source has {was}"));
        }
    }
    Ok(found)
}

async fn sequences(session: &Session, expected: &[Sequence], found: &mut Comparison) -> Result<()> {
    for batch in expected.chunks(200) {
        // One query for many; a sequence that is missing would fail them all, so existence is asked first.
        let names: Vec<String> = batch.iter().map(|s| qualified(&s.schema, &s.name)).collect();
        let sql = "SELECT pg_catalog.to_regclass(name) IS NOT NULL FROM pg_catalog.unnest($1::pg_catalog.text[])
                     WITH ORDINALITY AS u (name, n) ORDER BY n";
        let there = session.query(sql, &[&names]).await;
        let there = there.map_err(|e| answer::error("cannot look up the sequences", e))?;
        let selects: Vec<String> = (names.iter().zip(there).enumerate())
            .filter(|(_, (_, there))| there.get(0))
            .map(|(n, (name, _))| format!("SELECT {n}::pg_catalog.int4, last_value, is_called FROM {name}"))
            .collect();
        let mut is: BTreeMap<i32, (i64, bool)> = BTreeMap::new();
        if !selects.is_empty() {
            let rows = session.query(&selects.join(" UNION ALL "), &[]).await;
            for row in rows.map_err(|e| answer::error("cannot read the restored sequences", e))? {
                is.insert(row.get(0), (row.get(1), row.get(2)));
            }
        }
        for (n, s) in batch.iter().enumerate() {
            found.compared.sequences += 1;
            let state =
                |(value, called): (i64, bool)| format!("{value}{}", if called { "" } else { " (not yet called)" });
            match is.get(&(n as i32)) {
                None => {
                    found.differences.push(format!("sequence {}.{}: missing in the restored copy", s.schema, s.name))
                }
                Some(&now) if now != (s.last_value, s.is_called) => found.differences.push(format!(
                    "sequence {}.{}: stands at {}, should be at {}",
                    s.schema,
                    s.name,
                    state(now),
                    state((s.last_value, s.is_called))
                )),
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Of format 1: each by itself.
async fn large_objects(
    session: &Session,
    expected: &[LargeObject],
    owners: bool,
    found: &mut Comparison,
) -> Result<()> {
    let now: BTreeMap<u32, catalog::LargeObjectMeta> =
        catalog::large_objects(session).await?.into_iter().map(|m| (m.oid, m)).collect();
    for object in expected {
        found.compared.large_objects += 1;
        let Some(meta) = now.get(&object.oid) else {
            found.differences.push(format!("large object {}: missing in the restored copy", object.oid));
            continue;
        };
        let mut words = Vec::new();
        if owners && meta.owner != object.owner {
            words.push(format!("owner is {}, was {}", meta.owner, object.owner));
        }
        if owners && meta.acl != object.acl {
            words.push("privileges differ".into());
        }
        let (mut sha, mut size) = (Sha256::new(), 0_u64);
        loop {
            let (offset, step) = (size as i64, LARGE_OBJECT_STEP as i32);
            let row = session.query_one("SELECT pg_catalog.lo_get($1, $2, $3)", &[&object.oid, &offset, &step]).await;
            let row = row.map_err(|e| answer::error(&format!("cannot read large object {}", object.oid), e))?;
            let bytes: &[u8] = row.get(0);
            sha.update(bytes);
            size += bytes.len() as u64;
            if (bytes.len() as u64) < LARGE_OBJECT_STEP {
                break;
            }
        }
        if size != object.size {
            words.push(format!("{size} bytes, was {}", object.size));
        } else if hex::encode(sha.finalize()) != object.sha256 {
            words.push("content differs".into());
        }
        if !words.is_empty() {
            found.differences.push(format!("large object {}: {}", object.oid, words.join(", ")));
        }
    }
    let expected: std::collections::BTreeSet<u32> = expected.iter().map(|o| o.oid).collect();
    let more = now.keys().filter(|oid| !expected.contains(oid));
    found.differences.extend(more.map(|oid| format!("large object {oid}: only in the restored copy")));
    Ok(())
}

async fn matviews(session: &Session, manifest: &Manifest, found: &mut Comparison) -> Result<()> {
    let now = catalog::matviews(session, &crate::vault::Filter::default()).await?;
    for expected in &manifest.matviews {
        found.compared.matviews += 1;
        let label = format!("materialized view {}.{}", expected.schema, expected.name);
        match now.iter().find(|m| m.schema == expected.schema && m.name == expected.name) {
            None => found.differences.push(format!("{label}: missing in the restored copy")),
            Some(m) if m.populated != expected.populated => {
                let state = |populated| if populated { "populated" } else { "not populated" };
                found.differences.push(format!("{label}: {}, was {}", state(m.populated), state(expected.populated)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The table of contents of a database's schema.
pub async fn schema_of(tools: &Tools, target: &Target, folder: &Path, progress: Arc<dyn Progress>) -> Result<Toc> {
    let mut file = std::ffi::OsString::from("--file=");
    file.push(folder);
    Run::new(&tools.pg_dump)
        .args(["--format=directory", "--schema-only", "--no-sync", "--compress=0"])
        .arg(file)
        .target(target)
        .stdout(Stdout::Null)
        .on_line(Arc::new(move |line: &str| progress.event(Event::Detail(line))))
        .output()
        .await?;
    restore::read_toc(&folder.join("toc.dat"))
}

/// The major version of the server that a table of contents was read from.
fn major(toc: &Toc) -> Option<u32> {
    let version = String::from_utf8_lossy(toc.server_version.as_deref()?).into_owned();
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Compares the schema of the restored copy with the stored table of contents, entry by entry. `canonical` creates one more empty
/// database, where one can be made: PostgreSQL prints some expressions differently once it has read its own print, and so does another
/// major version, so what differs is compared again with what the stored schema becomes there. What `granted` made is no difference.
pub async fn schemas<F>(
    restore: &Restore,
    granted: &Granted,
    scratch: &Path,
    canonical: F,
    found: &mut Comparison,
) -> Result<()>
where
    F: AsyncFnOnce() -> Result<Option<Target>>,
{
    let stored = restore::read_toc(&restore.toc_path())?;
    let expected = restore.part.of(stored.clone());
    let schema_of = async |target: &Target, folder: &str| {
        let toc = schema_of(&restore.tools, target, &scratch.join(folder), restore.progress.clone()).await?;
        Ok::<_, Error>(restore.part.without_owners(toc))
    };
    let restored = schema_of(&restore.target, "schema-restored").await?;
    found.compared.schema_entries = schema::count(&expected) as u64;
    // Another major's pg_dump words the same schema in another way.
    let same_words = stored.version == restored.version && major(&stored) == major(&restored);
    let mut differences = schema::differences(&expected, &restored);
    differences.retain(|d| !granted.explains(&stored, d));
    if differences.is_empty() {
        return Ok(());
    }
    let Some(target) = canonical().await? else {
        let n = match differences.len() {
            1 => "1 schema entry".to_owned(),
            n => format!("{n} schema entries"),
        };
        found.unproven.push(format!(
            "{n}: printed differently by this server, and no second database could be made to compare with"
        ));
        differences.retain(|d| same_words && d.what != "definition differs");
        found.differences.extend(differences.into_iter().map(|d| format!("{}: {}", d.object, d.what)));
        return Ok(());
    };
    granted.make(&target, &stored).await?;
    // What cannot be restored there could not be restored before either, and stands among the differences already.
    restore.schema_into(&target, &stored).await?;
    let expected = schema_of(&target, "schema-expected").await?;
    let again = schema::differences(&expected, &restored);
    let before = differences.len();
    if same_words {
        // Only another print of the same definition can be excused, never a missing object or another owner.
        let still: std::collections::HashSet<schema::Key> = again.into_iter().map(|d| d.key).collect();
        differences.retain(|d| still.contains(&d.key) || d.what != "definition differs");
    } else {
        differences = again;
    }
    if before > differences.len() {
        let n = before - differences.len();
        restore.progress.event(Event::Detail(&format!(
            "{n} definitions are printed differently after a restore, as PostgreSQL does; equal after the same round"
        )));
    }
    found.differences.extend(differences.into_iter().map(|d| format!("{}: {}", d.object, d.what)));
    Ok(())
}
