//! A dump over the only connection that there is: pg_dump takes everything, and its own files say what the rows were.
//!
//! Where a role may have one session, nobody can hold a snapshot for another: pg_dump's own transaction is the moment that the backup
//! shows. It prints rows under the settings that ours are read with, so the lines of its files are what a restored copy is compared
//! with. The catalog is read before and after, and what differs from pg_dump's table of contents means that a migration came between.

use super::{
    dump::{Following, OwnPart, Taken, own_part, table_of},
    ground::Ground,
    plan::{Seen, refuse_empty},
};
use crate::{
    dump::{
        catalog::{self, Relation, Size},
        locks::{Locks, overtaken},
        pg_dump::{self, Dumped},
        plan, snapshot,
    },
    error::{Error, Kind, Result},
    postgres::{connect::Session, pooler},
    progress::{Event, Phase, Progress},
    vault::{
        Address, Folder,
        manifest::{Table, TakenBy},
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

/// Plans and dumps, attempt number `attempt` (from 1).
pub(super) async fn dump(ground: &Ground<'_>, attempt: u32, session: Option<Session>) -> Result<Taken> {
    let Ground { config, tools, progress, .. } = ground;
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
    let bytes = plan.bytes();
    plan.pg_dump.extend(plan.streams.drain(..).map(|t| t.relation));
    let compression = config.compression.for_major(source.major);
    let files = ground.scratch.join(format!("dump-{attempt}"));
    if config.max_rate.is_some() {
        progress.event(Event::Warning("max-rate does not hold: pg_dump alone reads the rows, as fast as it can"));
    }
    progress.event(Event::Planned { tables: plan.pg_dump.len() as u64, bytes });
    phase.end();

    let phase = progress.begin(Phase::Dump);
    let mut target = ground.target.clone();
    target.options = Some(format!("{} {ROW_SETTINGS}", target.options.unwrap_or_default()).trim().to_owned());
    let taken_at = OffsetDateTime::now_utc();
    let begun = Instant::now();
    let dumped = loop {
        let _ = std::fs::remove_dir_all(&files);
        let told = progress.clone();
        let how = pg_dump::How { snapshot: None, locks: Locks::Passing, compression };
        let running = pg_dump::start(tools, &target, &config.filter, &plan, how, &files, told)?;
        match running.await.map_err(|e| Error::new(Kind::Tool, "watching pg_dump stopped").because(e))? {
            Err(e) if e.message().contains("too many connections") && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(AGAIN).await;
            }
            dumped => break dumped?,
        }
    };
    let changed = |e: Error| overtaken("another session changed the schema").because(e);
    dumped.check_against(&plan).map_err(changed)?;
    let session = connect(ground).await?;
    let (relations, _) = list(ground, &session).await?;
    let mut seen = Seen::ask(&session, config).await?;
    drop(session);

    let address = Address::new(&source.database, config.kind, taken_at);
    let folder = Folder::new(ground.store.clone(), &address.folder);
    ground.traces.stores_into(&address.folder);
    let (fresh, frames) = mpsc::channel(1);
    drop(fresh);
    let Following { begin, up, arrived, restoring } = Following::start(ground, &folder, frames);
    drop(arrived);
    let own = async {
        let own = own_part(ground, &folder, dumped, &source, &mut plan, &sizes, &mut seen, begin).await;
        let own = own.map_err(|e| if e.kind() == Kind::Archive { changed(e) } else { e })?;
        let (tables, unproven) = tables(&own, &relations, ground).await?;
        plan.unproven.extend(unproven);
        Ok((own, tables))
    };
    let starting = async {
        ground.traces.server_is_up(&**progress).await?;
        let _ = up.send(());
        Ok::<_, Error>(())
    };
    let ((own, tables), ()) = tokio::try_join!(own, starting)?;
    let beside = super::beside::take(ground, &folder).await?;
    phase.end();
    let files = Vec::new();
    Ok(Taken { taken_at, source, address, folder, compression, plan, seen, own, tables, files, beside, restoring })
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
async fn tables(own: &OwnPart, relations: &[Relation], ground: &Ground<'_>) -> Result<(Vec<Table>, Vec<String>)> {
    let by_oid: HashMap<u32, &Relation> = relations.iter().map(|r| (r.oid, r)).collect();
    let (mut tables, mut unproven) = (Vec::new(), Vec::new());
    for entry in own.dumped.toc.entries.iter().filter(|e| e.kind() == "TABLE DATA") {
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
        let read = fingerprint(own.dumped.clone(), name).await?;
        ground.progress.event(Event::Dumped { rows: read.rows, bytes: read.bytes, planned: 0 });
        let table = table_of(relation, TakenBy::PgDump, false);
        tables.push(Table { rows: read.rows, bytes: read.bytes, fingerprint: read.hex(), ..table });
    }
    Ok((tables, unproven))
}

async fn fingerprint(dumped: Arc<Dumped>, name: String) -> Result<crate::archive::fingerprint::Fingerprint> {
    let reading = tokio::task::spawn_blocking(move || dumped.fingerprint(&name)).await;
    reading.map_err(|e| Error::new(Kind::Io, "reading pg_dump's files stopped").because(e))?
}
