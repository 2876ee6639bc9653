//! `savepoint restore` of stored backups: round trips, rails, swaps, and what a broken-off restore leaves.

use crate::support::{
    Result,
    compare::compare,
    pg::{self, Server, quote},
    run::{Ended, Savepoint},
    s3::{self, S3},
    scratch,
};
use anyhow::{Context, ensure};
use rustix::process::Signal;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

const MAJOR: u32 = 17;

/// Two tables with rows, a foreign key, a trigger, a sequence, a view.
const SHOP: &str = "CREATE TABLE customers (id serial PRIMARY KEY, name text NOT NULL);
    CREATE TABLE orders (id serial PRIMARY KEY, customer int NOT NULL REFERENCES customers, note text, at timestamptz DEFAULT now());
    CREATE INDEX ON orders (customer);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := NEW.note || '!'; RETURN NEW; END $$;
    CREATE VIEW busy AS SELECT customer, count(*) AS n FROM orders GROUP BY 1;
    INSERT INTO customers (name) SELECT md5(g::text) FROM generate_series(1, 500) g;
    INSERT INTO orders (customer, note) SELECT 1 + g % 500, md5(g::text) FROM generate_series(1, 20000) g;
    CREATE TRIGGER touch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE SCHEMA extra; CREATE TABLE extra.things AS SELECT g AS id FROM generate_series(1, 77) g;";

/// A backup of `db` into a folder.
async fn stored(server: &Server, db: &str, store: &Path, args: &[&str]) -> Result<Ended> {
    Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store).args(args.to_vec()).run().await?.expect(0)
}

/// A database with the shop in it, and a proven backup of it.
async fn shop(server: &Server, db: &str) -> Result<tempfile::TempDir> {
    server.create_db(db, "").await?;
    server.psql(db, SHOP).await?;
    let store = scratch()?;
    stored(server, db, store.path(), &[]).await?;
    Ok(store)
}

/// `savepoint restore` with the programs of this server.
fn restore(server: &Server, url: &str) -> Result<Savepoint> {
    Ok(Savepoint::new(["restore", "--pg-bin-dir", &server.bin.display().to_string(), "--jobs", "3"])?
        .env("SAVEPOINT_TO", url))
}

/// Whether a database is there.
async fn exists(server: &Server, db: &str) -> Result<bool> {
    let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{db}'");
    Ok(server.psql("postgres", &sql).await? == "1")
}

async fn databases_like(server: &Server, pattern: &str) -> Result<Vec<String>> {
    let sql = format!("SELECT datname FROM pg_database WHERE datname LIKE '{pattern}' ORDER BY 1");
    Ok(server.psql("postgres", &sql).await?.lines().map(str::to_owned).collect())
}

/// Refused: exit code 1, each of `named` on stderr, a hint.
fn refused(ended: Ended, named: &[&str]) -> Result<Ended> {
    let ended = ended.expect(1)?;
    for name in named {
        ensure!(ended.stderr.contains(name), "{name:?} is not named\n{}", ended.output());
    }
    ensure!(ended.stderr.contains("hint: "), "no cure\n{}", ended.output());
    ended.left_nothing()?;
    Ok(ended)
}

async fn round_trip(from: u32, to: u32) -> Result {
    let (source, target) = (pg::server(from).await?, Server::start(to, "").await?);
    let db = format!("it restore {from} {to}");
    source.awkward(&db).await?;
    let (s3, store) = (s3::s3().await?, ());
    let _ = store;
    let bucket = s3.bucket().await?;
    Savepoint::backup(&source.url(&db), &source.bin)?.to_s3(&s3.endpoint, &bucket, "p").run().await?.expect(0)?;
    let run = || {
        Ok::<_, anyhow::Error>(
            restore(&target, &target.url("new one"))?
                .args(["latest", "--database", &db, "--json", "--pg-bin-dir", &source.bin.display().to_string()])
                .to_s3(&s3.endpoint, &bucket, "p"),
        )
    };
    // The server is fresh: it has none of the roles.
    let ended = run()?.run().await?;
    refused(ended, &["lacks roles", "awk_owner", "--create-roles", "--no-owner"])?;
    ensure!(!exists(&target, "new one").await?, "made although it was refused");
    let ended = run()?.args(["--create-roles"]).run().await?.expect(0)?;
    ended.left_nothing()?;
    let told = ended.json()?;
    ensure!(told["verified"] == true && told["database"] == "new one", "{told:#}");
    ensure!(told["compared"]["tables"].as_u64() > Some(40), "{told:#}");
    if from == to {
        let found = compare((source, &db), (&target, "new one")).await?;
        ensure!(found.is_empty(), "{found:#?}");
    } else {
        let count = "SELECT count(*), sum(n) FROM numbers";
        ensure!(source.psql(&db, count).await? == target.psql("new one", count).await?);
    }
    let statistics = "SELECT count(*) > 20 FROM pg_stats WHERE schemaname = 'public'";
    ensure!(target.psql("new one", statistics).await? == "t", "no ANALYZE");
    let mark = "SELECT shobj_description(oid, 'pg_database') IS NULL FROM pg_database WHERE datname = 'new one'";
    ensure!(target.psql("postgres", mark).await? == "t", "still marked");
    Ok(())
}

#[tokio::test]
async fn awkward_round_trip_15() -> Result {
    round_trip(15, 15).await
}

#[tokio::test]
async fn awkward_round_trip_18() -> Result {
    round_trip(18, 18).await
}

#[tokio::test]
async fn awkward_into_a_newer_server() -> Result {
    round_trip(15, 17).await
}

#[tokio::test]
async fn older_server_is_refused() -> Result {
    let (source, target) = (pg::server(17).await?, pg::server(15).await?);
    let store = shop(source, "it_older").await?;
    let ended = restore(source, &target.url("it_older_copy"))?.to_folder(store.path()).run().await?;
    refused(ended, &["runs PostgreSQL 15.", "backup is of PostgreSQL 17.", "17 or later"])?;
    ensure!(!exists(target, "it_older_copy").await?);
    Ok(())
}

#[tokio::test]
async fn rails_hold_and_cures_work() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_rails";
    let store = shop(server, db).await?;
    server.psql(db, "DELETE FROM orders WHERE id > 100; ALTER SEQUENCE orders_id_seq RESTART WITH 101").await?;
    let run = |args: &[&str]| {
        let run = restore(server, &server.url(db))?.to_folder(store.path()).args(args.to_vec());
        Ok::<_, anyhow::Error>(run)
    };
    let untouched = async || -> Result { Ok(ensure!(server.psql(db, "SELECT count(*) FROM orders").await? == "100")) };

    refused(run(&[])?.run().await?, &["is not empty: 3 tables", "--create NAME", "--swap", "--clean --confirm it_rails"])?;
    refused(run(&["--clean"])?.run().await?, &["removes everything", "--confirm it_rails"])?;
    refused(run(&["--clean", "--confirm", "it_rail"])?.run().await?, &["\"it_rail\"", "\"it_rails\""])?;
    refused(run(&["--create", "it_rails_2", "--protect", "rails"])?.run().await?, &["is protected (--protect rails)"])?;
    refused(run(&["--create", "postgres"])?.run().await?, &["database postgres exists"])?;
    untouched().await?;

    let dry = run(&["--swap", "--dry-run"])?.run().await?.expect(0)?;
    for word in ["3 tables with about", "compare every row", "end the sessions", "nothing was touched", "20,577 rows"] {
        ensure!(dry.output().contains(word), "{word}\n{}", dry.output());
    }
    untouched().await?;
    ensure!(databases_like(server, "it_rails%").await? == [db], "a dry run made something");

    let made = run(&["--create", "it_rails_2", "--confirm", db, "--protect", "rails"])?.run().await?.expect(0)?;
    made.left_nothing()?;
    ensure!(server.psql("it_rails_2", "SELECT count(*) FROM orders").await? == "20000");
    untouched().await?;
    // A database that is there but empty.
    server.create_db("it_rails_3", "").await?;
    let run = restore(server, &server.url("it_rails_3"))?.to_folder(store.path()).args(["--database", db]);
    run.run().await?.expect(0)?;
    let found = compare((server, "it_rails_2"), (server, "it_rails_3")).await?;
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}
