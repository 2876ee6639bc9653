//! Faults of the database's server, and what others do there, while a backup runs.

use super::{Case, Left, Row, Skipped, row};
use crate::{
    postgres::tls,
    support::{
        Result,
        pg::Server,
        proxy::{Action, Proxy, Rule},
        run::{Ended, Running, Savepoint, descends, kill, processes},
    },
};
use anyhow::{bail, ensure};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// More rows (46 MiB) than fit into the buffers between a server and us (32 MB of them may be there), read so slowly that the server has to wait for some seconds.
const LARGE: u32 = 1_200_000;
/// For a fault that may come late on a busy machine: 20 s go by before the server has sent all.
const LARGER: u32 = 2_400_000;
const SLOWLY: [&str; 2] = ["--max-rate", "3M"];

fn large(rows: u32) -> String {
    format!("CREATE TABLE large AS SELECT g, md5(g::text) AS v FROM generate_series(1, {rows}) g")
}

/// A run against a server whose certificate is wrong in some way.
async fn by_tls(case: &Case, cert: &str, parameters: &str) -> Result<Ended> {
    let server = tls::Server::start();
    if cert != "server" {
        server.restart_with(cert);
    }
    case.backup(&server.url("db.test", parameters), &case.s3.endpoint)?.run().await
}

/// Waits on the server until the statement, which answers with true or false, says true.
async fn until(server: &Server, db: &str, sql: &str) -> Result {
    let wait = format!(
        "DO $$ BEGIN FOR i IN 1..20000 LOOP PERFORM pg_stat_clear_snapshot(); IF ({sql}) THEN RETURN; END IF; PERFORM pg_sleep(0.001); \
         END LOOP; RAISE 'in vain'; END $$"
    );
    server.psql(db, &wait).await?;
    Ok(())
}

/// Ends a backend of which this is true (of `pg_stat_activity a`) as soon as there is one.
async fn ended_backend(case: &Case, which: &str) -> Result<Ended> {
    let terminated = format!(
        "SELECT count(pg_terminate_backend(pid)) > 0 FROM pg_stat_activity a WHERE datname = '{}' AND {which}",
        case.db
    );
    case.server.psql(&case.db, &large(LARGE)).await?;
    let run = case.usual()?.args(SLOWLY).spawn()?;
    until(case.server, "postgres", &terminated).await?;
    run.wait().await
}

/// A server of its own with the database of the row and so many rows in it.
async fn own(case: &Case, rows: u32) -> Result<Server> {
    let server = Server::start(super::MAJOR, "").await?;
    server.create_db(&case.db, "").await?;
    server.psql(&case.db, &large(rows)).await?;
    Ok(server)
}

/// A run against a server of its own, to which `act` does something when the rows are read.
async fn while_read(case: &Case, rows: u32, act: impl AsyncFnOnce(&Server, &Running) -> Result) -> Result<Ended> {
    let server = own(case, rows).await?;
    let url = format!("{}?connect_timeout=3", server.url(&case.db));
    let run = case.impatient(&url, &case.s3.endpoint)?.args(SLOWLY);
    run.when_it_says("dump begins", async |run| act(&server, run).await).await
}

/// A signal to the server and all its processes.
fn to_all(server: &Server, signal: Signal) -> Result {
    let main = server.pid().unwrap_or_default();
    // Before the others are listed: it starts none from here on.
    kill(main, signal)?;
    let all = processes();
    for p in all.iter().filter(|p| descends(&all, p.pid, main)) {
        let _ = kill(p.pid, signal);
    }
    Ok(())
}

/// It stands still for so long, or until the run has ended.
async fn stopped_for(case: &Case, rows: u32, time: Duration) -> Result<Ended> {
    while_read(case, rows, async |server, run| {
        to_all(server, Signal::STOP)?;
        let end = Instant::now() + time;
        while Instant::now() < end && processes().iter().any(|p| p.pid == run.pid && !p.zombie) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        to_all(server, Signal::CONT)
    })
    .await
}

/// One of its processes is killed, so the server ends all others and starts anew.
async fn crashed(case: &Case) -> Result<Ended> {
    while_read(case, LARGER, async |server, _| {
        let pid = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        kill(server.psql("postgres", pid).await?.trim().parse()?, Signal::KILL)
    })
    .await
}

/// A run, while somebody else does `sql` in a transaction that is committed once the run waits for its lock on `t`, or never.
async fn beside(case: &Case, sql: &str, commit: bool) -> Result<Ended> {
    let db = &case.db;
    let end = match commit {
        true => {
            "FOR i IN 1..20000 LOOP PERFORM pg_stat_clear_snapshot(); EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted AND \
             database = (SELECT oid FROM pg_database WHERE datname = current_database())); PERFORM pg_sleep(0.001); END LOOP;"
        }
        false => "PERFORM pg_sleep(120);",
    };
    let held = format!("SET application_name = 'migration'; DO $$ BEGIN {sql}; {end} END $$");
    let holder = async { case.server.psql(db, &held).await };
    let run = async {
        let holds = format!(
            "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.datname = '{db}' AND granted AND \
             mode = 'AccessExclusiveLock' AND application_name = 'migration'"
        );
        until(case.server, "postgres", &holds).await?;
        let run = if commit { case.usual()? } else { case.impatient(&case.server.url(db), &case.s3.endpoint)? };
        let ended = run.run().await;
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{db}' AND application_name = 'migration'"
        );
        case.server.psql("postgres", &end).await?;
        ended
    };
    let (_, ended) = tokio::join!(holder, run);
    ended
}

/// A query on a standby stands in the way of what the primary removes.
async fn conflict(case: &Case) -> Result<Ended> {
    let Some(primary) = Server::debian("17deb", "").await? else {
        bail!(Skipped("no standby of a minor that exports sound snapshots"));
    };
    primary.create_db(&case.db, "").await?;
    primary.psql(&case.db, &large(LARGE)).await?;
    let standby = primary.standby().await?;
    standby.psql("postgres", "ALTER SYSTEM SET max_standby_streaming_delay = 0; SELECT pg_reload_conf()").await?;
    until(&standby, "postgres", &format!("SELECT count(*) > 0 FROM pg_database WHERE datname = '{}'", case.db)).await?;
    let run = Savepoint::backup(&standby.url(&case.db), &standby.bin)?
        .to_s3(&case.s3.endpoint, &case.bucket, "p")
        .args(SLOWLY);
    run.when_it_says("dump begins", async |_| {
        primary.psql(&case.db, "DELETE FROM large; VACUUM (FREEZE) large").await?;
        Ok(())
    })
    .await
}

/// A message of the server whose length was changed on the way.
async fn changed_length(case: &Case, kind: u8, number: usize) -> Result<Ended> {
    let rule = Rule { connection: None, after: 0, action: Action::Length { kind, number } };
    let proxy = Proxy::start(case.server.port, vec![rule]).await?;
    let url = format!("{}?sslmode=disable", case.server.url_at(proxy.port, "postgres", &case.db));
    let ended = case.impatient(&url, &case.s3.endpoint)?.run().await?;
    ensure!(proxy.fired() > 0, "the fault was never met\n{}", ended.output());
    Ok(ended)
}

/// The role may hold fewer connections from the moment on in which its snapshot stands.
async fn fewer_connections(case: &Case) -> Result<Ended> {
    let role = format!("role_{}", case.db);
    let drop = format!("DROP ROLE IF EXISTS {role}");
    let make = format!("{drop}; CREATE ROLE {role} LOGIN; GRANT pg_read_all_data TO {role}");
    case.server.psql("postgres", &make).await?;
    let limit = format!(
        "DO $$ BEGIN FOR i IN 1..20000 LOOP PERFORM pg_stat_clear_snapshot(); IF EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{role}' \
         AND state = 'idle in transaction' AND backend_xmin IS NOT NULL) THEN ALTER ROLE {role} CONNECTION LIMIT 1; RETURN; END IF; \
         PERFORM pg_sleep(0.001); END LOOP; RAISE 'in vain'; END $$"
    );
    let url = case.server.url_at(case.server.port, &role, &case.db);
    let run = case.backup(&url, &case.s3.endpoint)?;
    let (limited, ended) = tokio::join!(case.server.psql("postgres", &limit), run.run());
    case.server.psql("postgres", &drop).await?;
    limited?;
    ended
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn rows() -> Vec<Row> {
    let nothing = (1, Left::Nothing);
    let fine = (0, Left::Proven);
    let full = "sslmode=verify-full&sslrootcert=DIR/ca.crt";
    vec![
        row("the certificate has expired", "preflight", nothing, "expired", "", move |case| {
            Box::pin(by_tls(case, "old", full))
        }),
        row("the certificate is of another host", "preflight", nothing, "not valid for", "", |case| {
            Box::pin(async move {
                let server = tls::Server::start();
                let url = server.url("other.test", "sslmode=verify-full&sslrootcert=DIR/ca.crt");
                case.backup(&url, &case.s3.endpoint)?.run().await
            })
        }),
        row("the certificate is of another authority", "preflight", nothing, "certificate", "", |case| {
            Box::pin(by_tls(case, "server", "sslmode=verify-full&sslrootcert=DIR/other.crt"))
        }),
        row("the session that holds the snapshot is ended", "dump", nothing, "error in dump", "", |case| {
            Box::pin(ended_backend(
                case,
                "application_name = 'savepoint' AND EXISTS (SELECT FROM pg_stat_activity b WHERE b.datname = a.datname \
                 AND b.state = 'active' AND b.query LIKE '%COPY %' AND b.backend_start > a.backend_start)",
            ))
        }),
        row("a session that reads rows is ended", "dump", nothing, "error in dump", "", |case| {
            Box::pin(ended_backend(
                case,
                "application_name = 'savepoint' AND state = 'active' AND query LIKE '%COPY %'",
            ))
        }),
        row("pg_dump's session is ended", "dump", nothing, "pg_dump", "", |case| {
            Box::pin(ended_backend(case, "application_name LIKE 'pg_dump%'"))
        }),
        row("the server crashes and starts anew", "dump", nothing, "error in dump", "", |case| Box::pin(crashed(case))),
        row("the server is shut down", "dump", nothing, "error in dump", "", |case| {
            Box::pin(while_read(case, LARGER, async |server, _| kill(server.pid().unwrap_or_default(), Signal::INT)))
        }),
        row("the server stands still for a second", "dump", fine, "passed, all equal", "", |case| {
            Box::pin(stopped_for(case, LARGE, Duration::from_secs(1)))
        }),
        row("the server stands still for longer than the limit", "dump", nothing, "error in dump", "", |case| {
            Box::pin(stopped_for(case, LARGER, Duration::from_secs(60)))
        }),
        row(
            "the length of a row's message is changed on the way",
            "dump",
            nothing,
            "a length that cannot be",
            "sslmode",
            |case| Box::pin(changed_length(case, b'd', 20)),
        ),
        row(
            "the length of the first answer is changed on the way",
            "preflight",
            nothing,
            "no answer from",
            "",
            |case| Box::pin(changed_length(case, b'D', 2)),
        ),
        row(
            "the length of an answer is changed on the way",
            "any",
            nothing,
            "a length that cannot be",
            "sslmode",
            |case| Box::pin(changed_length(case, b'D', 12)),
        ),
        row(
            "the role may hold fewer connections than when asked",
            "dump",
            nothing,
            "too many connections",
            "",
            |case| Box::pin(fewer_connections(case)),
        ),
        row("a migration alters the table and commits", "plan", fine, "passed, all equal", "", |case| {
            Box::pin(beside(case, "ALTER TABLE t ADD more int", true))
        }),
        row("a migration drops a table between listing and lock", "plan", fine, "passed, all equal", "", |case| {
            Box::pin(async move {
                case.server.psql(&case.db, "CREATE TABLE u AS SELECT 1 AS id").await?;
                beside(case, "DROP TABLE u", true).await
            })
        }),
        row(
            "a migration holds a lock for ever",
            "plan",
            nothing,
            "holds an exclusive lock on public.t",
            "pg_terminate_backend",
            |case| Box::pin(beside(case, "LOCK TABLE t", false)),
        ),
        row("a standby's query is in the way of its primary", "dump", nothing, "conflict with recovery", "", |case| {
            Box::pin(conflict(case))
        }),
    ]
}
