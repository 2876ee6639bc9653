//! The proof can fail, and a run that is broken off leaves nothing behind.

use crate::support::{
    Result,
    pg::{self, Server},
    proxy::{Action, Proxy, Rule, Tamper, TamperingS3},
    run::{Ended, Savepoint, in_process, kill, nothing_left},
    s3::{self, S3},
    scratch,
};
use anyhow::{Context, ensure};
use rustix::process::Signal;
use savepoint::cancel::Cancel;
use savepoint::{
    progress::{Event, Phase, Progress},
    report::{BackupReport, Outcome},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

const MAJOR: u32 = 17;

async fn big(server: &Server, db: &str) -> Result {
    server.create_db(db, "").await?;
    server.psql_file(db, "big.sql").await?;
    Ok(())
}

/// A store that gives back something else than was stored: found, named, exit code 3.
async fn tampered(db: &str, tamper: Tamper) -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db(db, "").await?;
    // Two tables of several frames each.
    server
        .psql(
            db,
            "CREATE TABLE one AS SELECT g AS id, md5(g::text) || md5((-g)::text) || md5((g * 2)::text) AS t \
             FROM generate_series(1, 250000) g; CREATE TABLE two AS SELECT id + 1 AS id, t FROM one; ANALYZE",
        )
        .await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    // The second data file that is asked for: by then there is another one to swap it with.
    let seen = Mutex::new(Vec::<String>::new());
    let second = move |key: &str| {
        let mut seen = seen.lock().unwrap();
        let data = key.contains("/archive/") && key.contains(".dat") && !key.ends_with("toc.dat");
        if data && !seen.iter().any(|k| k == key) {
            seen.push(key.to_owned());
        }
        seen.get(1).is_some_and(|k| k == key)
    };
    let bad = TamperingS3::start(s3, &bucket, tamper, second).await?;
    let ended =
        Savepoint::backup(&server.url(db), &server.bin)?.to_s3(&bad.endpoint, &bucket, "x").run().await?.expect(3)?;
    ended.left_nothing()?;
    let key = bad.served().first().context("the file was never read back")?.clone();
    let file = key.rsplit('/').next().context("a key without a name")?.to_owned();
    let text = ended.output();
    ensure!(text.contains(&file) || text.contains("public.one") || text.contains("public.two"), "not named\n{text}");
    let objects = s3.list(&bucket).await?;
    ensure!(objects.iter().any(|o| o.key.ends_with("/manifest.json")), "it is stored all the same");
    let proof = objects.iter().find(|o| o.key.contains("/proofs/")).context("no proof record")?;
    let proof: serde_json::Value = serde_json::from_slice(&s3.get(&bucket, &proof.key).await?)?;
    ensure!(proof["passed"] == false && proof["differences"].as_array().is_some_and(|d| !d.is_empty()), "{proof:#}");
    Ok(())
}

#[tokio::test]
async fn flipped_byte_is_found() -> Result {
    tampered("it_flip", Tamper::Flip(None)).await
}

#[tokio::test]
async fn file_cut_at_a_frame_is_found() -> Result {
    tampered("it_cut", Tamper::CutAtFrame).await
}

#[tokio::test]
async fn swapped_files_are_found() -> Result {
    tampered("it_swap", Tamper::Swap).await
}

#[tokio::test]
async fn deleted_file_is_found() -> Result {
    tampered("it_gone", Tamper::Delete).await
}

/// Changes the restored copy when the comparison begins.
struct Meddler {
    bin: PathBuf,
    sql: &'static str,
    conninfo: Mutex<Option<String>>,
    done: Mutex<Option<Result<()>>>,
}

impl Progress for Meddler {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Throwaway(conninfo) => *self.conninfo.lock().unwrap() = Some(conninfo.to_owned()),
            Event::Started(Phase::Compare) => {
                let conninfo = self.conninfo.lock().unwrap().clone();
                let change = || {
                    let out = std::process::Command::new(self.bin.join("psql"))
                        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", self.sql, "-d"])
                        .arg(conninfo.context("the throwaway server was not named")?)
                        .output()?;
                    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
                    Ok(())
                };
                *self.done.lock().unwrap() = Some(change());
            }
            _ => {}
        }
    }
}

async fn meddled(db: &str, sql: &'static str) -> Result<BackupReport> {
    let server = pg::server(MAJOR).await?;
    server.create_db(db, "").await?;
    server
        .psql(
            db,
            "CREATE TABLE orders (id serial PRIMARY KEY, note text DEFAULT 'none', at date DEFAULT '2026-01-01'); \
             INSERT INTO orders (note) SELECT md5(g::text) FROM generate_series(1, 1000) g; \
             CREATE INDEX by_note ON orders (note); CREATE SEQUENCE counter START 5; SELECT nextval('counter'); \
             SELECT lo_from_bytea(4711, 'large'); CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders",
        )
        .await?;
    let (store, temporary) = (scratch()?, scratch()?);
    let config = in_process(server, db, store.path(), temporary.path());
    let meddler =
        Arc::new(Meddler { bin: server.bin.clone(), sql, conninfo: Mutex::new(None), done: Mutex::new(None) });
    let report = savepoint::backup::run(&config, meddler.clone(), Cancel::new()).await;
    let done = meddler.done.lock().unwrap().take();
    done.with_context(|| format!("the comparison never began: {report:#?}"))??;
    nothing_left(temporary.path())?;
    Ok(report)
}

async fn is_found(db: &str, sql: &'static str, named: &str) -> Result {
    let report = meddled(db, sql).await?;
    ensure!(report.outcome == Outcome::ProofFailed && report.exit_code() == 3, "{report:#?}");
    let proof = report.proof.context("no proof record")?;
    ensure!(!proof.passed && proof.differences.iter().any(|d| d.contains(named)), "{:#?}", proof.differences);
    // One change, one object: nothing else may be blamed.
    ensure!(proof.differences.iter().all(|d| d.contains(named)), "{:#?}", proof.differences);
    Ok(())
}

#[tokio::test]
async fn untouched_copy_is_equal() -> Result {
    let report = meddled("it_same", "SELECT 1").await?;
    ensure!(report.outcome == Outcome::Proven && report.exit_code() == 0, "{report:#?}");
    Ok(())
}

#[tokio::test]
async fn changed_row_is_found() -> Result {
    is_found("it_row", "UPDATE orders SET note = 'x' WHERE id = 500", "public.orders").await
}

#[tokio::test]
async fn missing_rows_are_found() -> Result {
    is_found("it_rows", "DELETE FROM orders WHERE id < 4", "public.orders").await
}

#[tokio::test]
async fn changed_sequence_is_found() -> Result {
    is_found("it_sequence", "SELECT setval('counter', 5, false)", "public.counter").await
}

#[tokio::test]
async fn missing_index_is_found() -> Result {
    is_found("it_index", "DROP INDEX by_note", "by_note").await
}

#[tokio::test]
async fn changed_default_is_found() -> Result {
    is_found("it_default", "ALTER TABLE orders ALTER note SET DEFAULT 'other'", "orders").await
}

#[tokio::test]
async fn changed_large_object_is_found() -> Result {
    is_found("it_lo", "SELECT lo_put(4711, 0, 'L')", "4711").await
}

#[tokio::test]
async fn lost_large_object_is_found() -> Result {
    is_found("it_lo_lost", "SELECT lo_unlink(4711)", "large object 4711: 1 missing").await
}

#[tokio::test]
async fn foreign_large_object_is_found() -> Result {
    is_found("it_lo_more", "SELECT lo_create(4712)", "large objects: 1 more in the restored copy").await
}

#[tokio::test]
async fn large_object_with_other_privileges_is_found() -> Result {
    let sql = "GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC";
    is_found("it_lo_acl", sql, "large object 4711: owners or privileges differ").await
}

#[tokio::test]
async fn emptied_matview_is_found() -> Result {
    is_found("it_matview", "REFRESH MATERIALIZED VIEW totals WITH NO DATA", "totals").await
}

/// A run that was broken off: exit code 1 (or a signal's), the cause in one line, nothing left anywhere.
async fn broken_off(ended: Ended, store: Option<(&S3, &str)>) -> Result {
    ensure!(ended.code.is_some_and(|c| c != 0), "exit code {:?}\n{}", ended.code, ended.output());
    ensure!(ended.stderr.lines().any(|l| l.starts_with("error")), "no cause\n{}", ended.output());
    ended.left_nothing()?;
    if let Some((s3, bucket)) = store {
        let (objects, uploads) = (s3.list(bucket).await?, s3.uploads(bucket).await?);
        ensure!(objects.is_empty() && uploads.is_empty(), "left in the store: {objects:?} {uploads:?}");
    }
    Ok(())
}

#[tokio::test]
async fn killed_pg_dump() -> Result {
    let server = pg::server(MAJOR).await?;
    big(server, "it_kill_dump").await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let run = Savepoint::backup(&server.url("it_kill_dump"), &server.bin)?.to_s3(&s3.endpoint, &bucket, "x").spawn()?;
    kill(run.descendant("--snapshot").await?, Signal::KILL)?;
    let ended = run.wait().await?;
    ensure!(ended.stderr.contains("pg_dump"), "the cause is not named\n{}", ended.output());
    broken_off(ended, Some((s3, &bucket))).await
}

#[tokio::test]
async fn cut_worker_connection() -> Result {
    let server = pg::server(MAJOR).await?;
    big(server, "it_cut_worker").await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    // Only a worker gets so many bytes.
    let proxy = Proxy::start(server.port, vec![Rule { connection: None, after: 8 << 20, action: Action::Cut }]).await?;
    let url = server.url_at(proxy.port, "postgres", "it_cut_worker");
    let ended = Savepoint::backup(&url, &server.bin)?.to_s3(&s3.endpoint, &bucket, "x").run().await?;
    ensure!(proxy.fired() == 1, "no connection got so far\n{}", ended.output());
    broken_off(ended, Some((s3, &bucket))).await
}

#[tokio::test]
async fn killed_store() -> Result {
    let server = pg::server(MAJOR).await?;
    big(server, "it_kill_store").await?;
    let mut s3 = S3::start().await?;
    let bucket = s3.bucket().await?;
    let run =
        Savepoint::backup(&server.url("it_kill_store"), &server.bin)?.to_s3(&s3.endpoint, &bucket, "x").spawn()?;
    run.descendant("--snapshot").await?;
    s3.kill();
    broken_off(run.wait().await?, None).await
}

#[tokio::test]
async fn terminated() -> Result {
    let server = pg::server(MAJOR).await?;
    big(server, "it_term").await?;
    let s3 = s3::s3().await?;
    for signal in [Signal::TERM, Signal::INT] {
        let bucket = s3.bucket().await?;
        let run = Savepoint::backup(&server.url("it_term"), &server.bin)?.to_s3(&s3.endpoint, &bucket, "x").spawn()?;
        run.descendant("--snapshot").await?;
        run.signal(signal)?;
        broken_off(run.wait().await?, Some((s3, &bucket))).await?;
    }
    Ok(())
}

/// Panics at an event, as a fault of our own code would.
struct Panics(fn(&Event<'_>) -> bool);

impl Progress for Panics {
    fn event(&self, event: Event<'_>) {
        assert!(!(self.0)(&event), "on purpose");
    }
}

/// Code that panics, in a task or in the run itself, is a failure as any other: told, cleaned up behind, and never a green.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_fails_the_run_and_leaves_nothing() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_panic";
    server.create_db(db, "").await?;
    server.psql(db, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id").await?;
    type At = fn(&Event<'_>) -> bool;
    let panics: [(&str, At, bool); 4] = [
        ("in the preflight", |e| matches!(e, Event::Started(Phase::Preflight)), false),
        ("in a worker", |e| matches!(e, Event::Dumped { .. }), false),
        ("at the commit", |e| matches!(e, Event::Started(Phase::Commit)), false),
        ("while comparing", |e| matches!(e, Event::Started(Phase::Compare)), true),
    ];
    for (at, panics, stored) in panics {
        let (store, temporary) = (scratch()?, scratch()?);
        let config = in_process(server, db, store.path(), temporary.path());
        let report = savepoint::backup::run(&config, Arc::new(Panics(panics)), Cancel::new()).await;
        ensure!(report.exit_code() == if stored { 3 } else { 1 }, "{at}: {report:#?}");
        let error = report.failure.as_ref().map(|e| format!("{e:?}")).unwrap_or_default();
        ensure!(error.contains("on purpose"), "{at}: {report:#?}");
        nothing_left(temporary.path()).with_context(|| at)?;
        let left = std::fs::read_dir(store.path())?.count();
        ensure!((left > 0) == stored, "{at}: {left} left in the destination");
    }
    server.drop_db(db).await
}

/// KILL leaves no chance to clean up: the next run does.
#[tokio::test]
async fn killed_itself() -> Result {
    let server = pg::server(MAJOR).await?;
    big(server, "it_kill").await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let first = Savepoint::backup(&server.url("it_kill"), &server.bin)?.to_s3(&s3.endpoint, &bucket, "x");
    let shared = first.scratch();
    let run = first.spawn()?;
    run.descendant("bin/postgres").await?;
    run.signal(Signal::KILL)?;
    let ended = run.wait().await?;
    ensure!(ended.code.is_none(), "it ended before the signal\n{}", ended.output());
    let objects = s3.list(&bucket).await?;
    ensure!(!objects.iter().any(|o| o.key.ends_with("manifest.json")), "{objects:?}");
    let next = Savepoint::backup(&server.url("it_kill"), &server.bin)?.to_s3(&s3.endpoint, &bucket, "y");
    next.same_scratch(&shared).run().await?.expect(0)?.left_nothing()
}
