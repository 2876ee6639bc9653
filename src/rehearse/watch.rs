//! Looks at the locks of a database again and again while somebody else works in it.

use crate::{
    error::Result,
    postgres::connect::{self, Session},
    postgres::conninfo::Target,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

/// Between two looks. A lock that is held for less may not be seen.
const EVERY: Duration = Duration::from_millis(10);

/// What the last look may take.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Modes for which writers wait, as pg_locks and as the documentation write them, and whether readers wait as well
/// (<https://www.postgresql.org/docs/current/explicit-locking.html>, "Conflicting Lock Modes").
const MODES: [(&str, &str, bool); 4] = [
    ("ShareLock", "SHARE", false),
    ("ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE", false),
    ("ExclusiveLock", "EXCLUSIVE", false),
    ("AccessExclusiveLock", "ACCESS EXCLUSIVE", true),
];

/// A lock on a relation that was held for a time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    /// The relation's OID.
    pub relation: u32,
    /// The mode, as the documentation writes it.
    pub mode: &'static str,
    pub blocks_readers: bool,
    /// From the first to the last look that saw it.
    pub time: Duration,
    /// The statement that was under way at the first.
    pub statement: String,
}

/// A watch that goes on until it is ended.
pub(super) struct Watch {
    end: oneshot::Sender<()>,
    task: AbortOnDropHandle<(Vec<Held>, bool)>,
}

impl Watch {
    /// Begins it; `target`: the database, as a role that may see everything.
    pub async fn begin(target: &Target) -> Result<Watch> {
        let session = connect::connect(target, "savepoint rehearsal watch").await?;
        let (end, ended) = oneshot::channel();
        let task = AbortOnDropHandle::new(tokio::spawn(look(session, ended)));
        Ok(Watch { end, task })
    }

    /// Ends it, with one last look. What was seen, and whether that is all: the command may end our session, or hold the catalogs.
    pub async fn end(self) -> (Vec<Held>, bool) {
        let _ = self.end.send(());
        // A transaction that the command prepared may hold the catalogs for ever.
        tokio::time::timeout(LAST_LOOK, self.task).await.map(Result::unwrap_or_default).unwrap_or_default()
    }
}

type Key = (u32, String, i32, String);

async fn look(session: Session, mut ended: oneshot::Receiver<()>) -> (Vec<Held>, bool) {
    let modes = MODES.map(|(mode, ..)| format!("'{mode}'")).join(", ");
    // The transaction tells one lock from the next of the same session.
    let sql = format!(
        "SELECT l.relation, l.mode, l.pid, l.virtualtransaction, pg_catalog.left(a.query, 500) \
         FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'relation' AND l.granted AND l.relation >= 16384 AND l.mode IN ({modes}) \
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
    );
    let Ok(statement) = session.prepare(&sql).await else { return (Vec::new(), false) };
    let mut seen: HashMap<Key, (Instant, Instant, String)> = HashMap::new();
    loop {
        let last = !matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        let asked = Instant::now();
        let Ok(rows) = session.query(&statement, &[]).await else { return (longest(seen), false) };
        for row in rows {
            let key: Key = (row.get(0), row.get(1), row.get(2), row.get(3));
            let query: Option<String> = row.get(4);
            let entry = seen.entry(key).or_insert_with(|| (asked, asked, query.unwrap_or_default()));
            entry.1 = Instant::now();
        }
        if last {
            break;
        }
        tokio::select! {
            _ = &mut ended => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
    (longest(seen), true)
}

/// The longest of each relation and mode, the longest first.
fn longest(seen: HashMap<Key, (Instant, Instant, String)>) -> Vec<Held> {
    let mut found: HashMap<(u32, &'static str), Held> = HashMap::new();
    for ((relation, mode, ..), (first, last, statement)) in seen {
        let Some((_, mode, blocks_readers)) = MODES.into_iter().find(|(name, ..)| *name == mode) else { continue };
        let held = Held { relation, mode, blocks_readers, time: last - first, statement };
        let known = found.entry((relation, mode)).or_insert_with(|| held.clone());
        if held.time > known.time {
            *known = held;
        }
    }
    // A stronger lock keeps out whom a weaker one does.
    let rank = |mode: &str| MODES.iter().position(|(_, name, _)| *name == mode);
    let by_a_stronger = |held: &Held| {
        found.values().any(|o| o.relation == held.relation && rank(o.mode) > rank(held.mode) && o.time >= held.time)
    };
    let told: Vec<Held> = found.values().filter(|held| !by_a_stronger(held)).cloned().collect();
    let mut found = told;
    found.sort_by(|a, b| b.time.cmp(&a.time).then(a.relation.cmp(&b.relation)).then(a.mode.cmp(b.mode)));
    found
}
