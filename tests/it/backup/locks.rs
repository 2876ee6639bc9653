//! Migrations that wait for our locks.

use crate::support::{
    Result,
    pg::{self, Server},
    run::{Savepoint, in_process, nothing_left},
    scratch,
};
use anyhow::{Context, ensure};
use savepoint::cancel::Cancel;
use savepoint::{
    progress::{Event, Phase, Progress},
    report::Outcome,
};
use std::{
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Begins an ALTER on a table that is not read yet, once rows of another one flow and pg_dump has its locks.
struct Migration {
    server: &'static Server,
    db: &'static str,
    began: Mutex<Option<Result<Child>>>,
    /// Set once the restore begins: pg_dump has ended by then, and needs no lock any more.
    restoring: AtomicBool,
}

impl Migration {
    fn psql(&self, sql: &str) -> Command {
        let mut psql = pg::command(&self.server.bin, "psql").into_std();
        psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.server.socket(self.db)]);
        psql
    }

    fn wait_for(&self, sql: &str, or: impl Fn() -> bool) -> Result {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if or() || self.psql(sql).output()?.stdout.starts_with(b"t") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("waited in vain for {sql}")
    }

    fn begin(&self) -> Result<Child> {
        // It was started before any row flowed. Whoever waits here holds a thread up, so what comes next may not tell that it has ended.
        let begun = Instant::now();
        let is_gone = || {
            let sql = "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name LIKE 'pg_dump %' AND datname = 'it_alter'";
            begun.elapsed() > Duration::from_secs(4)
                && self.psql(sql).output().is_ok_and(|o| o.stdout.starts_with(b"t"))
        };
        self.wait_for(
            "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
             WHERE relation = 'late'::regclass AND granted AND application_name LIKE 'pg_dump %'",
            || self.restoring.load(Ordering::Relaxed) || is_gone(),
        )?;
        let alter = self.psql("ALTER TABLE late ADD COLUMN more int").spawn()?;
        self.wait_for("SELECT count(*) > 0 FROM pg_locks WHERE relation = 'late'::regclass AND NOT granted", || false)?;
        Ok(alter)
    }
}

impl Progress for Migration {
    fn event(&self, event: Event<'_>) {
        if let Event::Started(Phase::Restore) = event {
            self.restoring.store(true, Ordering::Relaxed);
        }
        if let Event::Dumped { .. } = event {
            let mut began = self.began.lock().unwrap();
            if began.is_none() {
                *began = Some(self.begin());
            }
        }
    }
}

/// A worker that waited behind the ALTER would wait for ever: the ALTER waits for the session that holds the snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_alter_stops_nobody() -> Result {
    let (server, db) = (pg::server(17).await?, "it_alter");
    server.create_db(db, "").await?;
    server
        .psql(
            db,
            "CREATE TABLE early AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 600000) g; \
             CREATE TABLE late AS SELECT generate_series(1, 1000) AS id; \
             CREATE TABLE beside_1 AS SELECT 1 AS id; CREATE TABLE beside_2 AS SELECT generate_series(1, 2) AS id",
        )
        .await?;
    let (store, temporary) = (scratch()?, scratch()?);
    let mut config = in_process(server, db, store.path(), temporary.path());
    // One worker, the largest table first: `late` comes behind it, in one statement with two others.
    config.engine.jobs = 1;
    let migration = Arc::new(Migration { server, db, began: Mutex::new(None), restoring: AtomicBool::new(false) });
    let run = savepoint::backup::run(&config, migration.clone(), Cancel::new());
    let report = tokio::time::timeout(Duration::from_secs(120), run).await.context("the backup waits for the ALTER")?;
    ensure!(report.outcome == Outcome::Proven, "{report:#?}");
    let manifest = &report.backup.context("no backup")?.manifest;
    ensure!(manifest.tables.iter().map(|t| t.rows).sum::<u64>() == 601_003, "{:#?}", manifest.tables);
    let late = manifest.tables.iter().find(|t| t.name == "late").context("late")?;
    ensure!((late.rows, late.columns.len()) == (1000, 1), "{late:#?}");
    let mut alter = migration.began.lock().unwrap().take().context("no rows flowed")??;
    ensure!(alter.wait()?.success(), "the migration goes on behind the backup");
    nothing_left(temporary.path())
}

/// A server whose table of locks is too small for everybody to hold all tables, and large enough for pg_dump.
const SMALL: &str = "max_locks_per_transaction = 10\nmax_connections = 20\nmax_prepared_transactions = 0\n\
    autovacuum_max_workers = 1\nmax_worker_processes = 0\nmax_wal_senders = 0\nwal_level = minimal";

/// So many tables of one row each, `t1` and so on.
fn tables(number: usize) -> String {
    format!(
        "DO $$ BEGIN FOR i IN 1..{number} LOOP EXECUTE format('CREATE TABLE t%s AS SELECT %s AS id', i, i); \
         IF i % 20 = 0 THEN COMMIT; END IF; END LOOP; END $$"
    )
}

/// Does something once the snapshot stands and before pg_dump is started, the first time.
struct Between<F> {
    act: F,
    acted: AtomicBool,
    lines: Mutex<Vec<String>>,
}

impl<F: Fn() -> Result + Send + Sync> Progress for Between<F> {
    fn event(&self, event: Event<'_>) {
        if let Event::Detail(line) | Event::Notice(line) = event {
            self.lines.lock().unwrap().push(line.to_owned());
            if line.contains("each is locked once") && !self.acted.swap(true, Ordering::Relaxed) {
                (self.act)().unwrap();
            }
        }
    }
}

/// What a migration does to a table between the snapshot and whoever locks it: none of it may read as rows that are missing.
#[tokio::test(flavor = "multi_thread")]
async fn where_locks_are_scarce_each_table_is_locked_once_and_no_change_is_missed() -> Result {
    let server = Box::leak(Box::new(Server::start(17, SMALL).await?));
    for (n, (change, rows, again)) in [
        ("SELECT 1", 153, false),
        ("BEGIN; INSERT INTO early SELECT id FROM late; TRUNCATE late; COMMIT", 153, true),
        ("BEGIN; INSERT INTO late VALUES (3); ALTER TABLE late ALTER id TYPE bigint; COMMIT", 154, true),
        ("BEGIN; INSERT INTO early SELECT id FROM late; DROP TABLE late; COMMIT", 153, true),
        ("ALTER TABLE late RENAME id TO number", 153, true),
        ("ALTER TABLE late ADD more int DEFAULT 1", 153, false),
    ]
    .into_iter()
    .enumerate()
    {
        let db = format!("it_scarce_{n}");
        server.create_db(&db, "").await?;
        server.psql(&db, &tables(150)).await?;
        server
            .psql(&db, "CREATE TABLE early AS SELECT 1 AS id; CREATE TABLE late AS SELECT generate_series(1, 2) AS id")
            .await?;
        let (store, temporary) = (scratch()?, scratch()?);
        let config = in_process(server, &db, store.path(), temporary.path());
        let act = {
            let db = db.clone();
            let server: &'static Server = server;
            move || {
                let mut psql = pg::command(&server.bin, "psql").into_std();
                psql.args(["-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-c", change, &server.socket(&db)]);
                ensure!(psql.status()?.success());
                Ok(())
            }
        };
        let between = Arc::new(Between { act, acted: AtomicBool::new(false), lines: Mutex::default() });
        let report = savepoint::backup::run(&config, between.clone(), Cancel::new()).await;
        ensure!(between.acted.load(Ordering::Relaxed), "{change}: locks were not scarce\n{report:#?}");
        ensure!(report.outcome == Outcome::Proven, "{change}: {report:#?}");
        let manifest = &report.backup.context("no backup")?.manifest;
        let found: u64 = manifest.tables.iter().map(|t| t.rows).sum();
        ensure!(found == rows, "{change}: {found} rows\n{:#?}", manifest.tables);
        let started_over = between.lines.lock().unwrap().iter().any(|l| l.contains("starting over"));
        ensure!(started_over == again, "{change}: {:#?}", between.lines.lock().unwrap());
        nothing_left(temporary.path())?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_tables_for_pg_dump_itself_name_the_setting() -> Result {
    let server = Server::start(17, SMALL).await?;
    server.create_db("it_full", "").await?;
    server.psql("it_full", &tables(1_500)).await?;
    let dir = scratch()?;
    ensure!(server.pg_dump("it_full", &dir.path().join("plain")).await.is_err(), "pg_dump alone succeeds");
    let store = scratch()?;
    let ended =
        Savepoint::backup(&server.url("it_full"), &server.bin)?.to_folder(store.path()).run().await?.expect(1)?;
    ensure!(ended.stderr.contains("ALTER SYSTEM SET max_locks_per_transaction = "), "{}", ended.output());
    ensure!(ended.stderr.contains("1500 tables"), "{}", ended.output());
    ended.left_nothing()
}
