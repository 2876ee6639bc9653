//! One moment of the source, held open for every connection: lock first, snapshot second.

use super::{
    catalog::{self, Relation, Size},
    locks::{self, Locks, Room},
};
use crate::{
    error::{Error, Kind, Result},
    postgres::{
        connect::{self, Session},
        conninfo::Target,
        wire::Wire,
    },
    progress::{Event, Progress},
    report::format::{clip, seconds},
    vault::Filter,
};
use futures_util::future::join3;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};
use time::OffsetDateTime;
use tokio_postgres::error::SqlState;

/// How often the list of tables may change under us before we give up.
const ATTEMPTS: u32 = 20;

/// An exported snapshot and the session that keeps it alive, with every readable table locked against changes of its structure.
pub struct Snapshot {
    /// The exporting session; its transaction stays open as long as the snapshot is needed.
    pub session: Session,
    /// The name that `SET TRANSACTION SNAPSHOT` takes.
    pub id: String,
    /// When it was taken, by this machine's clock.
    pub taken_at: OffsetDateTime,
    /// Every table outside the system schemas, as the snapshot shows it.
    pub relations: Vec<Relation>,
    /// How the tables are locked.
    pub locks: Locks,
    /// What the server has room for.
    pub room: Room,
}

impl Snapshot {
    /// The tables that are locked.
    pub fn lockable(&self) -> impl Iterator<Item = &Relation> {
        self.relations.iter().filter(|r| lockable(r))
    }

    /// Sizes of the plain tables.
    pub async fn sizes(&self) -> Result<HashMap<u32, Size>> {
        let plain: Vec<u32> = self.lockable().filter(|r| r.plain).map(|r| r.oid).collect();
        catalog::sizes(&self.session, &plain).await
    }
}

/// A session that a snapshot is taken on, with the settings of [`prepare`].
pub struct Looked {
    /// The session.
    pub session: Session,
    /// What it has just listed.
    pub relations: Option<Vec<Relation>>,
}

/// Opens a session with the settings under which rows are read (see `docs/format.md`, "Fingerprint").
pub async fn reading_session(target: &Target, major: u32, encoding: &str) -> Result<Session> {
    let session = connect::connect(target, "savepoint").await?;
    prepare(&session, major, encoding).await?;
    Ok(session)
}

/// Gives a session the settings under which rows are read.
pub async fn prepare(session: &Session, major: u32, encoding: &str) -> Result<()> {
    let mut settings = connect::session_settings(major);
    if encoding == "SQL_ASCII" {
        // The server refuses to send bytes that are no UTF-8 to a UTF8 client; as SQL_ASCII they pass unchanged.
        settings.push_str("SET client_encoding TO 'SQL_ASCII';\n");
    }
    session.batch_execute(&settings).await.map_err(|e| session.explain("cannot prepare the session", e))
}

/// A connection that reads rows in the exported snapshot.
pub async fn reading_wire(target: &Target, major: u32, encoding: &str, id: &str) -> Result<Wire> {
    let session = reading_session(target, major, encoding).await?;
    import(&session, id).await?;
    session.into_wire().await
}

/// Begins the transaction in which rows are read, in an exported snapshot.
async fn import(session: &Session, id: &str) -> Result<()> {
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT '{id}'");
    session.batch_execute(&begin).await.map_err(|e| {
        let closed = e.is_closed();
        let error = session.explain("cannot join the snapshot", e);
        if closed {
            return error;
        }
        match error.hint_text() {
            Some(_) => error,
            None => error.hint(
                "every connection must reach the same server: name one host, not a balanced address or a pool of replicas; or the session \
                 that holds the snapshot was terminated (the server's log says so)",
            ),
        }
    })
}

fn lockable(relation: &Relation) -> bool {
    relation.taken && relation.readable && relation.utf8
}

async fn lock(session: &Session, relations: &[&Relation]) -> Result<(), tokio_postgres::Error> {
    for statement in locks::statements(relations.iter().copied()) {
        session.batch_execute(&statement).await?;
    }
    Ok(())
}

/// Runs catalog queries with the role's own search_path, by which pg_dump matches patterns without a schema, in one round trip. `work` has to
/// send all of its statements when it is first polled: what it sends later finds an empty search_path.
pub async fn with_role_path<T>(session: &Session, work: impl Future<Output = Result<T>>) -> Result<T> {
    let set = |sql| async move {
        session.batch_execute(sql).await.map_err(|e| session.explain("cannot set the search_path", e))
    };
    let reset = set("RESET search_path");
    let restored = set("SELECT pg_catalog.set_config('search_path', '', false)");
    // Statements are sent in the order in which these are polled first.
    let (reset, done, restored) = join3(reset, work, restored).await;
    reset?;
    restored?;
    done
}

/// Every table outside the system schemas, with what the filter says of it.
pub async fn list(session: &Session, filter: &Filter) -> Result<Vec<Relation>> {
    with_role_path(session, catalog::relations(session, filter)).await
}

/// Exports a snapshot, and makes sure that it shows the tables with the rows that it says: a TRUNCATE or a rewriting ALTER that commits
/// between snapshot and lock would make a table read as empty. Where the server has room for the locks, all tables that the filter takes
/// are locked before; with `sparing`, or where it has none, whoever reads a table sees to that. `patience`: how long one LOCK TABLE may wait.
pub async fn take(
    looked: Looked,
    filter: &Filter,
    sparing: bool,
    patience: Duration,
    progress: &dyn Progress,
) -> Result<Snapshot> {
    let Looked { session, relations: mut looked } = looked;
    run(&session, &format!("SET lock_timeout TO '{}ms'", patience.as_millis())).await?;
    let room = Room::ask(&session).await?;
    let (mut reason, mut sparing) = (String::new(), sparing);
    for _ in 0..ATTEMPTS {
        // However old it is: what came or went since is seen behind the locks.
        let before = match looked.take() {
            Some(listed) => listed,
            None => list(&session, filter).await?,
        };
        let wanted: Vec<&Relation> = before.iter().filter(|r| lockable(r)).collect();
        let locks = if sparing { Locks::Passing } else { room.locks(wanted.len()) };
        run(&session, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let attempt = match locks {
            Locks::Kept => locked(&session, filter, &wanted, patience).await?,
            Locks::Passing => Attempt::Taken(exported(&session).await?, list(&session, filter).await?),
        };
        match attempt {
            Attempt::Taken((id, taken_at), relations) => {
                run(&session, "SET lock_timeout TO 0").await?;
                return Ok(Snapshot { session, id, taken_at, relations, locks, room });
            }
            Attempt::Full => sparing = true,
            Attempt::Again(why) => {
                progress.event(Event::Detail(&format!("{why} while the snapshot was taken, starting over")));
                reason = why;
            }
        }
        run(&session, "ROLLBACK").await?;
    }
    Err(Error::new(
        Kind::Database,
        format!("no quiet moment for a snapshot in {ATTEMPTS} attempts; the last time, {reason}"),
    )
    .hint("take the backup while no migration runs"))
}

async fn run(session: &Session, sql: &str) -> Result<()> {
    session.batch_execute(sql).await.map_err(|e| session.explain("cannot take a snapshot", e))
}

/// What an attempt at a snapshot came to.
enum Attempt {
    /// Name and time, and the tables that it shows.
    Taken((String, OffsetDateTime), Vec<Relation>),
    /// Something came in between.
    Again(String),
    /// The server's table of locks is full.
    Full,
}

/// Exports the transaction's snapshot; its name, and the time.
async fn exported(session: &Session) -> Result<(String, OffsetDateTime)> {
    let id = session.simple_value("SELECT pg_catalog.pg_export_snapshot()").await;
    let id = id.map_err(|e| session.explain("cannot export a snapshot", e))?;
    let taken_at = OffsetDateTime::now_utc();
    let id = id.ok_or_else(|| Error::new(Kind::Database, "the server exported no snapshot"))?;
    Ok((id, taken_at))
}

/// Lock first, snapshot second.
async fn locked(session: &Session, filter: &Filter, wanted: &[&Relation], patience: Duration) -> Result<Attempt> {
    // LOCK takes no snapshot, so the one exported below is younger than every lock.
    if let Err(e) = lock(session, wanted).await {
        return again(session, wanted, patience, e).await;
    }
    let exported = exported(session).await?;
    // What came between the list and the locks is locked now, after the snapshot; the check below tells whether it changed.
    let locked: HashSet<u32> = wanted.iter().map(|r| r.oid).collect();
    let seen = list(session, filter).await?;
    let newcomers: Vec<&Relation> = seen.iter().filter(|r| lockable(r) && !locked.contains(&r.oid)).collect();
    if !newcomers.is_empty()
        && let Err(e) = lock(session, &newcomers).await
    {
        return again(session, &newcomers, patience, e).await;
    }
    let relations = if newcomers.is_empty() { seen } else { list(session, filter).await? };
    let changed = relations.iter().find(|r| lockable(r) && r.plain && r.filenode_now != Some(r.filenode_seen));
    Ok(match changed {
        Some(changed) => Attempt::Again(format!("table {} was truncated or rewritten", changed.label())),
        None => Attempt::Taken(exported, relations),
    })
}

/// Who holds or awaits a lock that keeps everybody from reading one of these tables, the longest at it first.
async fn blockers(session: &Session, wanted: &[&Relation]) -> Result<Vec<String>> {
    let oids: Vec<u32> = wanted.iter().map(|r| r.oid).collect();
    // What another role does is not told to everybody.
    let sql = "SELECT l.relation::pg_catalog.regclass::pg_catalog.text, l.granted, l.pid, a.usename::pg_catalog.text, \
               coalesce(a.application_name, ''), coalesce(a.state, ''), \
               pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start), coalesce(a.query, '') \
               FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
               WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = ANY ($1) \
               AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
               ORDER BY l.granted DESC, a.xact_start LIMIT 3";
    let failed = |e| session.explain("cannot ask who holds the lock", e);
    let rows = session.query(sql, &[&oids]).await.map_err(failed)?;
    let line = |row: &tokio_postgres::Row| {
        let text = |n| row.try_get::<_, Option<String>>(n).map(Option::unwrap_or_default);
        let (table, user, application, state, query) = (text(0)?, text(3)?, text(4)?, text(5)?, text(7)?);
        let (granted, pid, age) =
            (row.try_get::<_, bool>(1)?, row.try_get::<_, i32>(2)?, row.try_get::<_, Option<f64>>(6)?);
        let by = if application.is_empty() { String::new() } else { format!(" by {}", clip(&application, 40)) };
        let state = if state.is_empty() { String::new() } else { format!(", {state}") };
        let age = age.map(|age| format!(", in a transaction for {}", seconds(age))).unwrap_or_default();
        let query = clip(&query.split_whitespace().collect::<Vec<_>>().join(" "), 60);
        let query = if query.is_empty() { query } else { format!(": {query}") };
        let does = if granted { "holds" } else { "awaits" };
        Ok(format!("process {pid} of {user}{by} {does} an exclusive lock on {table}{state}{age}{query}"))
    };
    rows.iter().map(line).collect::<std::result::Result<_, _>>().map_err(failed)
}

/// What a failed LOCK comes to: why to start over, or an error.
async fn again(
    session: &Session,
    wanted: &[&Relation],
    patience: Duration,
    e: tokio_postgres::Error,
) -> Result<Attempt> {
    let gone = [
        SqlState::UNDEFINED_TABLE,
        SqlState::INVALID_SCHEMA_NAME,
        SqlState::WRONG_OBJECT_TYPE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    if e.code().is_some_and(|code| gone.contains(code)) {
        return Ok(Attempt::Again(session.explain("a table went away", e).one_line()));
    }
    let waited = e.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
    let error = session.explain("cannot lock the tables", e);
    match error.kind() {
        Kind::LocksFull => Ok(Attempt::Full),
        _ if waited => {
            run(session, "ROLLBACK").await?;
            let who = match blockers(session, wanted).await {
                Ok(found) if found.is_empty() => "nobody holds it any more".to_owned(),
                Ok(found) => found.join("; "),
                Err(e) => format!("who holds it cannot be told: {}", e.one_line()),
            };
            Err(Error::new(Kind::Database, format!("{} after {patience:?}: {who}", error.message())).hint(
                "take the backup when that session has ended; SELECT pg_terminate_backend(pid) ends one that was forgotten",
            ))
        }
        _ => Err(error),
    }
}
