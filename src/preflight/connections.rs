//! Whether the server has room for the connections of a backup.

use super::{
    answer::{Answer, Answered},
    facts::Facts,
    question::Question,
};
use crate::{
    error::Result,
    postgres::{answer, connect::Session},
};
use async_trait::async_trait;

const NAME: &str = "connections";

/// Connections that we need besides the reading ones: the snapshot's holder and pg_dump.
pub(super) const OTHER_CONNECTIONS: usize = 2;

const CURE: &str = "raise max_connections or the CONNECTION LIMIT of the role or the database, or end idle sessions";

/// Counts them.
pub(super) struct Count;

#[async_trait]
impl Question for Count {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let direct = facts.direct()?;
        facts.room.learn(match direct.alone {
            true => Ok(1),
            false => free_connections(&direct.session, direct.passing).await,
        });
        Ok(Vec::new())
    }
}

/// Judges whether they are enough.
pub(super) struct Enough;

#[async_trait]
impl Question for Enough {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        facts.rights.get()?;
        let (room, wanted) = match facts.room.get()? {
            Ok(room) => (*room, facts.config.engine.jobs),
            Err(e) => return Ok(vec![Answer::failed(e)]),
        };
        let jobs = room.saturating_sub(OTHER_CONNECTIONS).min(wanted);
        facts.jobs.learn(jobs);
        Ok(vec![match room {
            0 | 1 => Answer::warning(format!(
                "room for a single one: pg_dump takes all rows by itself, which is slower ({CURE})"
            )),
            2 => Answer::warning(format!("room for two: one reads all rows beside pg_dump, which is slower ({CURE})")),
            _ if jobs < wanted => Answer::warning(format!("room for {jobs} of {wanted} jobs")),
            _ => Answer::ok(format!("room for {jobs} jobs")),
        }])
    }
}

/// Connections that there is room for, this one among them. `passing`: a process that is about to end.
async fn free_connections(session: &Session, passing: i32) -> Result<usize> {
    // Each limit less what counts against it; a limit of -1 is none. reserved_connections exists from 16 on.
    let sql = format!("SELECT least(
                  pg_catalog.current_setting('max_connections')::pg_catalog.int8
                    - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int8
                    - coalesce(pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int8, 0)
                    - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND pid <> {passing}),
                  (SELECT nullif(rolconnlimit, -1)::pg_catalog.int8 FROM pg_catalog.pg_roles WHERE rolname = current_user AND NOT rolsuper)
                    - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usename = current_user AND pid <> {passing}),
                  (SELECT nullif(datconnlimit, -1)::pg_catalog.int8 FROM pg_catalog.pg_database
                    WHERE datname = pg_catalog.current_database()
                      AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))
                    - (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = pg_catalog.current_database()
                        AND backend_type = 'client backend' AND pid <> {passing}))");
    let row = session.query_typed_one(&sql, &[]).await.map_err(|e| answer::error("cannot count the connections", e))?;
    let free: i64 = row.get(0);
    Ok(free.max(0) as usize + 1)
}
