//! Whether the server has room for the connections of a backup.

use super::{
    answer::{Answer, Answered},
    facts::Facts,
    question::Question,
};
use crate::{
    error::{Error, Kind, Result},
    postgres::{answer, connect::Session},
};
use async_trait::async_trait;

const NAME: &str = "connections";

/// Connections that we need besides the reading ones: the snapshot's holder and pg_dump.
const OTHER_CONNECTIONS: i64 = 2;

/// Counts them.
pub(super) struct Count;

#[async_trait]
impl Question for Count {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn ask(&self, facts: &Facts<'_>) -> Answered {
        let direct = facts.direct()?;
        facts.room.learn(free_connections(&direct.session, direct.passing, facts.config.engine.jobs).await);
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
        let (jobs, wanted) = match facts.room.get()? {
            Ok(jobs) => (*jobs, facts.config.engine.jobs),
            Err(e) => return Ok(vec![Answer::failed(e)]),
        };
        facts.jobs.learn(jobs);
        Ok(vec![match jobs < wanted {
            true => Answer::warning(format!("room for {jobs} of {wanted} jobs")),
            false => Answer::ok(format!("room for {jobs} jobs")),
        }])
    }
}

/// `passing`: a process that is about to end.
async fn free_connections(session: &Session, passing: i32, wanted: usize) -> Result<usize> {
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
    // This session is to hold the snapshot.
    let jobs = (free + 1 - OTHER_CONNECTIONS).min(wanted as i64);
    if jobs < 1 {
        return Err(Error::new(
            Kind::Refused,
            format!("the server has room for {} more connections, a backup needs 3", free + 1),
        )
        .hint("raise max_connections, or the CONNECTION LIMIT of the role or the database, or end idle sessions"));
    }
    Ok(jobs as usize)
}
