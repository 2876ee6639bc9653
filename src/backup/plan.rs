//! Plan: locks, the snapshot, the list of tables and who takes which; pg_dump starts at once.

use super::{BackupConfig, ground::Ground};
use crate::{
    archive::compression::Compression,
    dump::{
        catalog::{self, RawName, Relation, Size},
        large_objects::{self, Range},
        locks::{self, Locks},
        pg_dump::{self, How, Running, To},
        plan::{self, Plan},
        snapshot::{self, Looked, Snapshot},
    },
    error::{Error, Kind, Result},
    postgres::connect::Session,
    progress::{Event, Phase, Progress},
    vault::{
        Address, Folder,
        manifest::{Matview, Role, Source},
    },
};
use std::{collections::HashMap, sync::atomic::Ordering};
use time::OffsetDateTime;

/// A dump that is decided on: the snapshot is held, pg_dump is on its way, no row was read yet.
pub(super) struct Planned {
    /// When the snapshot was taken.
    pub taken_at: OffsetDateTime,
    /// The source, the snapshot's name with it.
    pub source: Source,
    pub address: Address,
    pub folder: Folder,
    pub compression: Compression,
    /// Every table that the snapshot shows.
    pub relations: Vec<Relation>,
    pub sizes: HashMap<u32, Size>,
    pub plan: Plan,
    pub locks: Locks,
    /// For the session of the snapshot, once pg_dump has ended.
    pub lock_statements: Vec<String>,
    /// The cure, where the server's table of locks is too small even so.
    pub locks_cure: String,
    pub pg_dump: Running,
    pub seen: Seen,
}

/// What the catalog says at the snapshot of things that pg_dump writes.
pub(super) struct Seen {
    pub matviews: Vec<Matview>,
    /// Every role of the server.
    pub roles: Vec<Role>,
    /// All large objects, where they are taken.
    pub large_objects: Vec<Range>,
    pub sequence_names: HashMap<RawName, (String, String)>,
    pub subscriptions: Vec<String>,
    /// On the server's disk.
    pub database_bytes: u64,
}

impl Planned {
    /// Plans on a session that reads; without one, on a new one. Returns the session with it: it holds
    /// the snapshot and its locks.
    pub async fn make(ground: &Ground<'_>, looked: Option<Looked>) -> Result<(Planned, Session)> {
        let Ground { config, target, tools, progress, .. } = ground;
        let phase = progress.begin(Phase::Plan);
        let mut source = ground.source.clone();
        let looked = match looked {
            Some(looked) => looked,
            None => {
                let session = snapshot::reading_session(target, source.major, &source.encoding).await?;
                Looked { session, relations: None }
            }
        };
        let sparing = ground.locks_are_scarce.load(Ordering::Relaxed);
        let snapshot = snapshot::take(looked, &config.filter, sparing, target.stall, &**progress).await?;
        refuse_empty(config, &snapshot.relations)?;
        let mut plan = plan::divide(&snapshot.relations, source.standby);
        let start = |plan: &Plan| {
            let to = if plan.toc_only { To::Toc } else { To::LargeObjects };
            let how = How { snapshot: Some(&snapshot.id), locks: snapshot.locks, to };
            pg_dump::start(tools, target, &config.filter, plan, how, progress.clone())
        };
        // Before all other questions: a migration that comes between our locks and pg_dump's makes us start over.
        let early = plan.toc_only.then(|| start(&plan));
        let sizes = snapshot.sizes().await?;
        plan.size(&sizes, source.major);
        let pg_dump = early.unwrap_or_else(|| start(&plan));
        let (lock_statements, lockable) = (locks::statements(snapshot.lockable()), snapshot.lockable().count());
        let Snapshot { session, id, taken_at, relations, locks, room } = snapshot;
        if locks == Locks::Passing {
            let line = format!(
                "{lockable} tables are many for a server with room for {} locks: each is locked once",
                room.objects
            );
            progress.event(Event::Detail(&line));
        }
        let compression = config.compression.for_major(source.major);
        source.snapshot = id;
        let seen = Seen::ask(&session, config).await?;
        source.database_bytes = seen.database_bytes;
        progress.event(Event::Planned { tables: plan.streams.len() as u64, bytes: plan.bytes() });
        phase.end();
        let address = Address::new(&source.database, config.kind, taken_at);
        let folder = ground.folder(&address.folder);
        let planned = Planned {
            taken_at,
            source,
            address,
            folder,
            compression,
            relations,
            sizes,
            plan,
            locks,
            lock_statements,
            locks_cure: room.cure(lockable),
            pg_dump,
            seen,
        };
        Ok((planned, session))
    }
}

impl Seen {
    pub async fn ask(session: &Session, config: &BackupConfig) -> Result<Seen> {
        let matviews = snapshot::with_role_path(session, catalog::matviews(session, &config.filter)).await?;
        let (roles, large_objects, sequence_names, subscriptions, database_bytes) = tokio::try_join!(
            catalog::roles(session),
            async {
                // pg_dump alone decides whether it takes them; we only know by which options it does.
                if config.filter.takes_large_objects() { large_objects::ranges(session).await } else { Ok(Vec::new()) }
            },
            catalog::sequence_names(session),
            catalog::subscriptions(session),
            catalog::database_bytes(session)
        )?;
        Ok(Seen { matviews, roles, large_objects, sequence_names, subscriptions, database_bytes })
    }
}

/// A backup without any table is hardly ever what was meant. A pattern that names nothing is refused by pg_dump itself.
pub(super) fn refuse_empty(config: &BackupConfig, relations: &[Relation]) -> Result<()> {
    if config.anomaly.allow_empty {
        return Ok(());
    }
    let database = &config.source.dbname;
    let own = relations.iter().filter(|r| !r.extension_member);
    match (own.clone().count(), own.filter(|r| r.taken).count()) {
        (0, _) => Err(Error::new(Kind::Refused, format!("database {database} holds no table at all"))
            .hint("check the database's name in the URL; if it is right, give --allow-empty")),
        (n, 0) if !config.filter.names_a_part() => {
            let tables = if n == 1 { "the only table".to_owned() } else { format!("all {n} tables") };
            let message = format!("the filter leaves out {tables} of database {database}");
            Err(Error::new(Kind::Refused, message)
                .hint("check exclude-schemas and exclude-tables; if they are right, give --allow-empty"))
        }
        _ => Ok(()),
    }
}
