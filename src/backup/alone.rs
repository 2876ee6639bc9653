//! A dump over the only connection that there is: pg_dump takes everything, and its own files say what the rows were.
//!
//! Where a role may have one session, nobody can hold a snapshot for another: pg_dump's own transaction is the moment that the backup
//! shows. It prints rows under the settings that ours are read with, so the lines of its files are what a restored copy is compared
//! with. The catalog is read before and after, and what differs from pg_dump's table of contents means that a migration came between.

use super::{
    dump::{Following, Taken, table_of},
    ground::Ground,
    own::{self, Own, OwnPart},
    plan::{Seen, refuse_empty},
};
use crate::{
    archive::toc::Toc,
    dump::{
        catalog::{self, Relation, Size},
        large_objects::{self, Sum},
        locks::{Locks, overtaken},
        packer::Numbers,
        pg_dump::{self, Running, To},
        plan::{self, Plan},
        snapshot,
    },
    error::{Error, Kind, Result},
    postgres::{connect::Session, pooler},
    progress::{Event, Phase, Progress},
    vault::{
        Address,
        manifest::{File, LargeObjectChunk, Source, Table, TakenBy},
    },
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::sync::mpsc;

/// A session that has just ended counts for a moment more.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);

/// Session settings that pg_dump does not set itself and that a row's text depends on (see `docs/format.md`, "Fingerprints").
const ROW_SETTINGS: &str = "-c TimeZone=UTC -c bytea_output=hex";

/// Plans and dumps.
pub(super) async fn dump(ground: &Ground<'_>, session: Option<Session>) -> Result<Taken> {
    let Ground { config, progress, .. } = ground;
    let phase = progress.begin(Phase::Plan);
    let session = match session {
        Some(session) => session,
        None => connect(ground).await?,
    };
    let (relations, sizes) = list(ground, &session).await?;
    drop(session);
    refuse_empty(config, &relations)?;
    let source = ground.source.clone();
    let mut plan = plan::plan(&relations, &sizes, source.major, source.standby);
    plan.exclusions.clear();
    plan.toc_only = false;
    let bytes = plan.bytes();
    plan.pg_dump.extend(plan.streams.drain(..).map(|t| t.relation));
    let compression = config.compression.for_major(source.major);
    progress.event(Event::Planned { tables: plan.pg_dump.len() as u64, bytes });
    phase.end();

    let phase = progress.begin(Phase::Dump);
    let taken_at = OffsetDateTime::now_utc();
    let (mut pg_dump, toc) = start(ground, &plan).await?;
    let changed = |e: Error| overtaken("another session changed the schema").because(e);
    pg_dump::check_against(&toc, &plan).map_err(changed)?;

    let address = Address::new(&source.database, config.kind, taken_at);
    let folder = ground.folder(&address.folder);
    ground.traces.stores_into(&address.folder);
    let (fresh, frames) = mpsc::channel(1);
    drop(fresh);
    let Following { begin, up, arrived, objects, restoring } = Following::start(ground, &folder, frames);
    drop(arrived);
    let own = async {
        let mut own = Own::new(ground, &folder, &source, &sizes, toc, Numbers::default());
        own.data(&mut pg_dump).await?;
        let session = connect(ground).await?;
        let (relations, _) = list(ground, &session).await?;
        let seen = Seen::ask(&session, config).await?;
        let mut own = own.end(&mut plan, &seen, begin).await?;
        let large_objects = owned(&session, &mut own).await?;
        drop(session);
        own::all_objects(&own.toc, &large_objects)?;
        let files: HashMap<&str, &File> = own.files.iter().map(|f| (f.path.as_str(), f)).collect();
        for chunk in &large_objects {
            if let Some(&file) = files.get(chunk.file.as_str()) {
                let _ = objects.send((Arc::new(chunk.clone()), Arc::new(file.clone())));
            }
        }
        drop(objects);
        let (tables, unproven) = tables(&own, &relations, ground)?;
        plan.unproven.extend(unproven);
        Ok((own, tables, seen, large_objects))
    };
    let starting = async {
        ground.traces.server_is_up(&**progress).await?;
        let _ = up.send(());
        Ok::<_, Error>(())
    };
    let ((own, tables, seen, large_objects), ()) = tokio::try_join!(own, starting)?;
    let beside = super::beside::take(ground, &folder).await?;
    phase.end();
    let files = Vec::new();
    Ok(Taken {
        taken_at,
        source: Source { database_bytes: seen.database_bytes, ..source },
        address,
        folder,
        compression,
        plan,
        seen,
        own,
        tables,
        large_objects,
        files,
        beside,
        restoring,
    })
}

/// Starts pg_dump, once the session before it has gone, and waits for its table of contents.
async fn start(ground: &Ground<'_>, plan: &Plan) -> Result<(Running, Toc)> {
    let Ground { config, tools, progress, .. } = ground;
    let mut target = ground.target.clone();
    target.options = Some(format!("{} {ROW_SETTINGS}", target.options.unwrap_or_default()).trim().to_owned());
    let begun = Instant::now();
    loop {
        let how = pg_dump::How { snapshot: None, locks: Locks::Passing, to: To::End };
        let mut pg_dump = pg_dump::start(tools, &target, &config.filter, plan, how, progress.clone());
        match own::toc(&mut pg_dump).await {
            Err(e) if e.message().contains("too many connections") && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(AGAIN).await;
            }
            toc => return Ok((pg_dump, toc?)),
        }
    }
}

async fn connect(ground: &Ground<'_>) -> Result<Session> {
    let begun = Instant::now();
    loop {
        match snapshot::reading_session(&ground.target, ground.source.major, &ground.source.encoding).await {
            Err(e) if pooler::is_full(&e) && begun.elapsed() < PATIENCE => tokio::time::sleep(AGAIN).await,
            session => return session,
        }
    }
}

/// Every table, and the sizes of the plain ones.
async fn list(ground: &Ground<'_>, session: &Session) -> Result<(Vec<Relation>, HashMap<u32, Size>)> {
    let relations = snapshot::list(session, &ground.config.filter).await?;
    let plain: Vec<u32> = relations.iter().filter(|r| r.plain && r.taken && r.readable).map(|r| r.oid).collect();
    let sizes = catalog::sizes(session, &plain).await?;
    Ok((relations, sizes))
}

/// The tables whose rows pg_dump wrote, with what its files say of them, and a line for each that cannot be compared.
fn tables(own: &OwnPart, relations: &[Relation], ground: &Ground<'_>) -> Result<(Vec<Table>, Vec<String>)> {
    let by_oid: HashMap<u32, &Relation> = relations.iter().map(|r| (r.oid, r)).collect();
    let (mut tables, mut unproven) = (Vec::new(), Vec::new());
    for entry in own.toc.entries.iter().filter(|e| e.kind() == "TABLE DATA") {
        let Some(relation) = entry.oid().and_then(|oid| by_oid.get(&oid)) else {
            return Err(overtaken(&format!("table {} went away", entry.name())));
        };
        if !relation.utf8 {
            // The plan says so.
            continue;
        }
        if relation.load_via_root {
            unproven.push(format!(
                "rows of {}: pg_dump loads them through their root, and there was no second connection to read it",
                relation.label()
            ));
            continue;
        }
        if entry.copy_stmt.as_deref() != Some(relation.copy_from().as_slice()) {
            return Err(overtaken(&format!("the columns of table {} changed", relation.label())));
        }
        let name = String::from_utf8_lossy(entry.filename.as_deref().unwrap_or_default()).into_owned();
        let read = own.rows.get(&name).ok_or_else(|| Error::new(Kind::Archive, format!("{name} was not read")))?;
        ground.progress.event(Event::Dumped { rows: read.rows, bytes: read.bytes, planned: 0 });
        let table = table_of(relation, TakenBy::PgDump, false);
        tables.push(Table { rows: read.rows, bytes: read.bytes, fingerprint: read.hex(), ..table });
    }
    Ok((tables, unproven))
}

/// The large objects that pg_dump wrote, with their owners as the catalog has them now.
async fn owned(session: &Session, own: &mut OwnPart) -> Result<Vec<LargeObjectChunk>> {
    let mut chunks = std::mem::take(&mut own.large_objects);
    chunks.sort_by_key(|(first, ..)| *first);
    let mut counted = vec![0; chunks.len()];
    large_objects::owners(session, |oid, owner, privileges| {
        let at = chunks.partition_point(|(_, last, ..)| *last < oid);
        if let Some((first, _, sum, _)) = chunks.get_mut(at).filter(|(first, ..)| *first <= oid) {
            let _ = first;
            sum.add_owner(oid, owner, privileges);
            counted[at] += 1;
        }
    })
    .await?;
    let same = chunks.iter().zip(&counted).all(|((_, _, sum, _), counted)| sum.objects == *counted);
    if !same {
        return Err(overtaken("large objects came or went"));
    }
    let of =
        |(first, last, sum, chunk): (u32, u32, Sum, LargeObjectChunk)| sum.chunk(first, last, chunk.file, chunk.frames);
    Ok(chunks.into_iter().map(of).collect())
}
