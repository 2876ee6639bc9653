//! Consistency under fire: backups while the database changes beneath them. A program of its own, so that it runs alone: beside the other
//! tests it took several times as long, and took the processors from them all that time.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "it/support/mod.rs"]
mod support;

use anyhow::ensure;
use std::process::Stdio;
use support::{
    Result, find,
    pg::{self, Server},
    run::Savepoint,
    scratch,
};

/// Rows that move between two tables, whole tables that are emptied and filled in one transaction, columns that come and go.
const SETUP: &str = "
CREATE TABLE here AS SELECT g AS id, repeat('x', 200) AS t FROM generate_series(1, 5000) g;
CREATE TABLE there (LIKE here);
CREATE TABLE refilled AS SELECT g AS id FROM generate_series(1, 1000) g;
CREATE TABLE rewritten AS SELECT g AS id, 0 AS changed FROM generate_series(1, 1000) g;
";
const MOVE: &str = "
WITH gone AS (DELETE FROM here WHERE id % 50 = floor(random() * 50)::int RETURNING *) INSERT INTO there SELECT * FROM gone;
WITH gone AS (DELETE FROM there WHERE id % 50 = floor(random() * 50)::int RETURNING *) INSERT INTO here SELECT * FROM gone;
";
const TRUNCATE: &str = "BEGIN; TRUNCATE refilled; INSERT INTO refilled SELECT generate_series(1, 1000); COMMIT;
SELECT pg_sleep(random() * 0.8);";
const DDL: &str = "
ALTER TABLE rewritten ADD COLUMN IF NOT EXISTS extra text DEFAULT md5(random()::text);
ALTER TABLE rewritten ALTER changed TYPE bigint;
CREATE TABLE IF NOT EXISTS passing AS SELECT 1 AS id;
ALTER TABLE rewritten ALTER changed TYPE integer;
DROP TABLE IF EXISTS passing;
ALTER TABLE rewritten DROP COLUMN IF EXISTS extra;
SELECT pg_sleep(random());
";
/// Each is true in every snapshot.
const INVARIANT: &str = "
SELECT (SELECT count(*) FROM (SELECT id FROM here UNION SELECT id FROM there) x) = 5000
  AND (SELECT count(*) FROM here) + (SELECT count(*) FROM there) = 5000
  AND (SELECT count(*) FROM refilled) = 1000 AND (SELECT count(*) FROM rewritten) = 1000
  AND (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(bbalance) FROM pgbench_branches)
  AND (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(tbalance) FROM pgbench_tellers)
  AND (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
";

/// Runs a script again and again until it is dropped. Errors (a deadlock, a lock that was refused) are what fire is.
fn again(server: &'static Server, db: &'static str, sql: &'static str) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let _ = server.psql(db, &sql.repeat(20)).await;
        }
    })
}

#[tokio::test]
async fn ten_backups_in_a_row() -> Result {
    let server = pg::server(17).await?;
    let db = "it_fire";
    server.create_db(db, "").await?;
    server.psql(db, SETUP).await?;
    server.tool("pgbench", &["-i", "-s", "5", "-q", &server.socket(db)]).await?;
    let mut pgbench = pg::command(&server.bin, "pgbench");
    let _pgbench = pgbench
        .args(["-c", "2", "-T", "900", &server.socket(db)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let fire = [MOVE, TRUNCATE, DDL].map(|sql| again(server, db, sql));

    for round in 0..10 {
        let store = scratch()?;
        let ended = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
        ended.left_nothing()?;
        let archive = find(store.path(), "archive")?;
        let copied = format!("it_fire_{round}");
        server.create_db(&copied, "").await?;
        server.pg_restore(&copied, &archive).await?;
        ensure!(server.psql(&copied, INVARIANT).await? == "t", "round {round}: the backup is torn");
        server.drop_db(&copied).await?;
    }
    fire.iter().for_each(|f| f.abort());
    Ok(())
}
