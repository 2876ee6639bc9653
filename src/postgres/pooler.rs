//! Recognises a transaction pooler by what it does.
//!
//! Such a pooler (PgBouncer with `pool_mode = transaction`, and its kin) lends a server process for one transaction at a
//! time. What a session sets, a snapshot's settings for one, is lost to it and met by whoever is lent the process next.

use super::{
    connect::{self, Session},
    conninfo::Target,
    watch::CUT,
};
use crate::error::{Error, Kind, Result};
use std::time::Duration;

/// A session that has a server process to itself. Nothing has been set in it yet.
pub struct Direct {
    /// The session.
    pub session: Session,
    /// Another process of ours, which is about to end.
    pub passing: i32,
    /// There was no room for another one.
    pub alone: bool,
}

/// Opens a session and looks whether it keeps its server process; `None` where a pooler lends it one.
///
/// Two sessions are opened, and what each asks waits for what the other asked: a question under way would hold its
/// process, as a transaction does, and look like a session of its own. So nobody looks after them before it is known.
pub async fn direct(target: &Target, application: &str) -> Result<Option<Direct>> {
    let first = async {
        let session = connect::unwatched(target, application).await?;
        let process = idle_process(&session, target).await?;
        Ok((session, process))
    };
    let (first, second) = tokio::join!(first, connect::unwatched(target, application));
    let ((session, before), second) = match (first, second) {
        // A limit of one: whichever came first.
        (Err(e), Err(other)) if is_full(&e) && is_full(&other) => {
            // Or neither, as each counted the other.
            tokio::time::sleep(Duration::from_millis(300)).await;
            let session = connect::unwatched(target, application).await?;
            let process = idle_process(&session, target).await?;
            return Ok(alone(target, session, process));
        }
        (Ok(first), Err(e)) if is_full(&e) => return Ok(alone(target, first.0, first.1)),
        (Err(e), Ok(second)) if is_full(&e) => {
            let process = idle_process(&second, target).await?;
            return Ok(alone(target, second, process));
        }
        (first, second) => (first?, second?),
    };
    let Some(before) = before else { return Ok(None) };
    let look = async {
        // The process that one session has just left is given to the next one that begins a transaction.
        let held = second.backend_pid_behind("BEGIN; ").await?;
        let after = idle_process(&session, target).await?;
        Ok((after == Some(before) && held != before).then_some(held))
    };
    match tokio::time::timeout(Duration::from_secs(20), look).await {
        Ok(passing) => Ok(passing?.map(|passing| {
            connect::look_after(&session, target, before);
            Direct { session, passing, alone: false }
        })),
        // A pool of one process: the first session waits for the second.
        Err(_) => Ok(None),
    }
}

/// Whether there was no room for a connection (`too_many_connections`).
pub(crate) fn is_full(e: &Error) -> bool {
    e.one_line().contains("SQLSTATE 53300")
}

/// The only session that there is room for. It shares no snapshot, so a pooler that lends it one process does no harm.
fn alone(target: &Target, session: Session, process: Option<i32>) -> Option<Direct> {
    process.map(|process| {
        connect::look_after(&session, target, process);
        Direct { session, passing: 0, alone: true }
    })
}

/// Fails where a transaction pooler stands before the server.
pub async fn refuse(target: &Target, application: &str) -> Result<()> {
    direct(target, application).await?.map(drop).ok_or_else(refusal)
}

/// Why a transaction pooler is of no use, and what to name in its place.
pub fn refusal() -> Error {
    Error::new(
        Kind::Refused,
        "the connection goes through a transaction pooler: two sessions were given the same server process",
    )
    .hint("connect to PostgreSQL directly, not through PgBouncer's transaction mode: name the server's own host and port (5432)")
}

/// The process behind a session outside of a transaction; `None` when it changes from one statement to the next, as behind
/// a pooler that lends its processes in turn.
///
/// # Errors
/// When no answer comes for as long as a connection may be silent: nobody looks after this one yet.
async fn idle_process(session: &Session, target: &Target) -> Result<Option<i32>> {
    let asked = async { Ok((session.backend_pid().await?, session.backend_pid().await?)) };
    let answered = tokio::time::timeout(target.stall, asked).await;
    let (one, two) = answered.unwrap_or_else(|_| {
        let message = format!("no answer from {} to a first question within {:.0?}", target.redacted(), target.stall);
        Err(Error::new(Kind::Database, message).hint(CUT))
    })?;
    Ok((one == two).then_some(one))
}
