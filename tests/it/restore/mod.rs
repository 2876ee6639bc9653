//! `savepoint restore` of stored backups: round trips, rails, swaps, and what a broken-off restore leaves.

use crate::support::{
    Result,
    compare::compare,
    find,
    pg::{self, Server},
    proxy::{Tamper, TamperingS3},
    run::{Ended, Savepoint, in_process, nothing_left},
    s3::{self, S3},
    scratch,
};
use anyhow::{Context, ensure};
use rustix::process::Signal;
use savepoint::{
    backup::BackupConfig,
    engine::Engine,
    progress::{Event, Phase, Progress},
    report::render::{Renderer as _, terminal::PLAIN},
    restore::{Place, RestoreConfig},
    store::Destination,
    vault::Pick,
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

mod properties;

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

/// An index that takes more than a second, so that a test can catch pg_restore at it.
const SLOW: &str = "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN $1; END $$;
    CREATE INDEX ON extra.things (public.slow(id))";

/// A database with the shop in it, and a proven backup of it.
async fn shop(server: &Server, db: &str) -> Result<tempfile::TempDir> {
    shop_with(server, db, "").await
}

async fn shop_with(server: &Server, db: &str, more: &str) -> Result<tempfile::TempDir> {
    server.create_db(db, "").await?;
    server.psql(db, &format!("{SHOP} {more}")).await?;
    let store = scratch()?;
    stored(server, db, store.path(), &[]).await?;
    Ok(store)
}

/// The same in a bucket of its own.
async fn shop_in_s3(server: &Server, db: &str, prefix: &str) -> Result<(&'static S3, String)> {
    server.create_db(db, "").await?;
    server.psql(db, SHOP).await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    Savepoint::backup(&server.url(db), &server.bin)?.to_s3(&s3.endpoint, &bucket, prefix).run().await?.expect(0)?;
    Ok((s3, bucket))
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
    let s3 = s3::s3().await?;
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
    let mark = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'new one'";
    ensure!(target.psql("postgres", mark).await? == "awkward", "still marked, or without the source's comment");
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

/// Without the programs of the newer server, those of the source serve; what they cannot do is said.
#[tokio::test]
async fn into_a_newer_server_with_the_older_programs() -> Result {
    let (source, target) = (pg::server(15).await?, pg::server(18).await?);
    let store = shop(source, "it_newer").await?;
    let ended = restore(source, &target.url("it_newer_copy"))?.to_folder(store.path()).args([
        "--database",
        "it_newer",
        "--json",
    ]);
    let told = ended.run().await?.expect(0)?.json()?;
    ensure!(told["verified"] == true, "{told:#}");
    ensure!(told["unproven"].to_string().contains("pg_dump 18 is not here"), "{told:#}");
    ensure!(target.psql("it_newer_copy", "SELECT count(*) FROM orders").await? == "20000");
    Ok(())
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
    let untouched = async || -> Result {
        ensure!(server.psql(db, "SELECT count(*) FROM orders").await? == "100");
        Ok(())
    };

    refused(
        run(&[])?.run().await?,
        &["is not empty: 3 tables", "--create NAME", "--swap", "--clean --confirm it_rails"],
    )?;
    refused(run(&["--clean"])?.run().await?, &["removes everything", "--confirm it_rails"])?;
    refused(run(&["--clean", "--confirm", "it_rail"])?.run().await?, &["\"it_rail\"", "\"it_rails\""])?;
    refused(run(&["--create", "it_rails_2", "--protect", "rails"])?.run().await?, &["is protected (--protect rails)"])?;
    refused(run(&["--create", "postgres"])?.run().await?, &["database postgres exists"])?;
    untouched().await?;

    let dry = run(&["--swap", "--dry-run"])?.run().await?.expect(0)?;
    for word in ["3 tables with ", "compare every row", "end the sessions", "nothing was touched", "20,577 rows"] {
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

/// An application that connects, asks and disconnects, again and again, and keeps what went wrong.
fn application(
    server: &'static Server,
    db: &str,
    stop: Arc<AtomicBool>,
) -> tokio::task::JoinHandle<(u64, Vec<String>)> {
    let db = db.to_owned();
    tokio::spawn(async move {
        let (mut answers, mut errors) = (0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            match server.psql(&db, "SELECT pg_sleep(0.05); SELECT count(*) FROM orders").await {
                Ok(_) => answers += 1,
                Err(e) => errors.push(e.to_string()),
            }
        }
        (answers, errors)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn swap_under_an_application_that_reconnects() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it swap";
    let store = shop(server, db).await?;
    let settings = "DROP ROLE IF EXISTS it_swap_owner; CREATE ROLE it_swap_owner;
        ALTER DATABASE \"it swap\" OWNER TO it_swap_owner; ALTER DATABASE \"it swap\" SET work_mem TO '7MB';
        ALTER DATABASE \"it swap\" SET search_path TO extra, \"$user\", public;
        ALTER ROLE it_swap_owner IN DATABASE \"it swap\" SET statement_timeout TO '9s';
        ALTER DATABASE \"it swap\" CONNECTION LIMIT 17; COMMENT ON DATABASE \"it swap\" IS 'the shop';
        REVOKE CONNECT ON DATABASE \"it swap\" FROM PUBLIC; GRANT CONNECT ON DATABASE \"it swap\" TO pg_monitor";
    server.psql("postgres", settings).await?;
    let own = "SELECT d.datdba::regrole, d.datconnlimit, (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(d.datacl) a),
            shobj_description(d.oid, 'pg_database'),
            (SELECT array_agg(coalesce(setrole, 0)::text || setconfig::text ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid)
        FROM pg_database d WHERE datname = 'it swap'";
    let before = server.psql("postgres", own).await?;
    server.psql(db, "UPDATE orders SET note = 'broken'; DROP VIEW busy").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let apps: Vec<_> = (0..3).map(|_| application(server, db, stop.clone())).collect();
    let run = restore(server, &server.url(db))?.to_folder(store.path()).args(["latest", "--swap", "--json"]);
    let ended = run.run().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for app in apps {
        let (more, errors) = app.await?;
        answers += more;
        let known = |e: &String| {
            ["terminating connection", "dropped or renamed", "server closed the connection", "does not exist"]
                .iter()
                .any(|k| e.contains(k))
        };
        ensure!(errors.iter().all(known) && errors.len() <= 4, "{errors:#?}");
    }
    ensure!(answers > 0, "the application never had an answer");
    let ended = ended?.expect(0)?;
    ended.left_nothing()?;
    let told = ended.json()?;
    ensure!(told["verified"] == true && told["database"] == db, "{told:#}");
    let aside = told["old_database"].as_str().context("old_database")?;
    ensure!(
        server.psql(db, "SELECT count(*) FROM busy; SELECT count(*) FROM orders WHERE note = 'broken'").await?
            == "500\n0"
    );
    ensure!(server.psql(aside, "SELECT count(*) FROM public.orders WHERE note = 'broken'").await? == "20000");
    let after = server.psql("postgres", own).await?;
    ensure!(before == after, "of the database itself\n{before}\n{after}");
    ensure!(databases_like(server, "it swap%").await? == [db, aside]);

    // The way back, as printed, leads back.
    let again =
        restore(server, &server.url(db))?.to_folder(store.path()).args(["latest", "--swap", "--verify", "rows"]);
    let ended = again.run().await?.expect(0)?;
    let way: Vec<&str> = ended
        .stdout
        .lines()
        .map(str::trim)
        .filter(|l| l.starts_with("SELECT pg_term") || l.starts_with("BEGIN;"))
        .collect();
    ensure!(way.len() == 2, "{}", ended.stdout);
    server.psql(db, "CREATE TABLE public.since_then ()").await?;
    server.psql("postgres", &way.join("\n")).await?;
    ensure!(server.psql(db, "SELECT to_regclass('public.since_then') IS NULL").await? == "t", "not the old one");
    Ok(())
}

/// SIGKILL at several moments: the old database is as it was, and what is left is marked, named, and never taken for a whole one.
#[tokio::test]
async fn a_killed_restore_leaves_the_old_database_untouched() -> Result {
    let server = pg::server(MAJOR).await?;
    let temporary = scratch()?;
    let scratch_dir = ["--scratch-dir".to_owned(), temporary.path().display().to_string()];
    for (db, how, moments) in [
        ("it_slain", &["--swap"][..], &["restore begins", "--section=post-data", "compare begins"][..]),
        ("it_slain_clean", &["--clean", "--confirm", "it_slain_clean"], &["--snapshot", "it_slain_clean_restored"]),
    ] {
        let store = shop_with(server, db, SLOW).await?;
        server.psql(db, "DELETE FROM orders WHERE id % 2 = 0").await?;
        let same = format!("{db}_same");
        server.create_db(&same, "").await?;
        let sql = server.tool("pg_dump", &["-d", &server.socket(db)]).await?;
        pg::psql(&server.bin, &server.socket(&same), sql).await?;
        let run = |args: &[&str]| {
            let run =
                restore(server, &server.url(db))?.to_folder(store.path()).args(["--kind", "manual", "--database", db]);
            Ok::<_, anyhow::Error>(run.args(args.to_vec()).args(scratch_dir.clone()))
        };
        for moment in moments {
            // What ends soon is not looked for among the processes: a busy machine would miss it.
            let words = if moment.ends_with(" begins") { moment } else { "begins" };
            let ended = run(how)?.when_it_says(words, async |run| {
                if words != *moment {
                    run.descendant(moment).await?;
                }
                run.signal(Signal::KILL)
            });
            let ended = ended.await.with_context(|| format!("{db} {moment}"))?;
            ensure!(ended.code.is_none(), "{db} {moment}\n{}", ended.output());
            let found = compare((server, db), (server, &same)).await?;
            ensure!(found.is_empty(), "{db} {moment}: {found:#?}");
        }
        let left = databases_like(server, &format!("{db}\\_restored%")).await?;
        ensure!(!left.is_empty(), "nothing was left by the killed ones");
        let dry = run(&["--swap", "--dry-run"])?.run().await?.expect(0)?;
        refused(run(&["--create", &left[0]])?.run().await?, &[&left[0], "left behind"])?;
        for name in left {
            let said = format!("database {name} is what a restore that was broken off left behind");
            ensure!(dry.stderr.contains(&said), "{}", dry.output());
            server.drop_db(&name).await?;
        }
    }
    nothing_left(temporary.path())?;
    Ok(())
}

/// A signal that can be heard: nothing is left at all.
#[tokio::test]
async fn an_interrupted_restore_cleans_up() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_interrupt";
    let store = shop_with(server, db, SLOW).await?;
    for (moment, into) in [("--section=post-data", "it_interrupt_new"), ("--section=post-data", "it_interrupt_empty")] {
        if into.ends_with("empty") {
            server.create_db(into, "").await?;
        }
        let run = restore(server, &server.url(into))?.to_folder(store.path()).args(["latest", "--database", db]);
        let running = run.spawn()?;
        running.descendant(moment).await?;
        running.signal(Signal::TERM)?;
        let ended = running.wait().await?.expect(1)?;
        ensure!(ended.stderr.contains("interrupted"), "{}", ended.output());
        ended.left_nothing()?;
    }
    ensure!(databases_like(server, "it_interrupt%").await? == [db, "it_interrupt_empty"]);
    let left = server
        .psql(
            "it_interrupt_empty",
            "SELECT count(*) FROM pg_class WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace",
        )
        .await?;
    ensure!(left == "0", "{left} relations are left");
    Ok(())
}

#[tokio::test]
async fn what_is_damaged_or_unproven_is_refused_before_the_target_is_touched() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_damage";
    let (s3, bucket) = shop_in_s3(server, db, "d").await?;
    let objects = s3.list(&bucket).await?;
    let key = |end: &str| {
        objects.iter().map(|o| o.key.clone()).find(|k| k.ends_with(end) || k.contains(end)).context(end.to_owned())
    };
    let id = key("manifest.json")?.rsplit('/').nth(1).context("an id")?.to_owned();
    let try_it = async |args: &[&str]| {
        let run = restore(server, &server.url("it_damage_new"))?.to_s3(&s3.endpoint, &bucket, "d");
        run.args(["--backup", &id]).args(args.to_vec()).run().await
    };
    let untouched = async || -> Result {
        ensure!(!exists(server, "it_damage_new").await?, "it was touched");
        Ok(())
    };

    let rows = key(".dat.zst")?;
    let whole = s3.get(&bucket, &rows).await?;
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (name, body) in [("one bit", flipped), ("cut", whole[..whole.len() - 1].to_vec())] {
        s3.put(&bucket, &rows, body).await?;
        let file = rows.rsplit('/').next().context("a file")?;
        refused(try_it(&["--force-unproven"]).await?, &["is damaged", file, "not touched"]).context(name)?;
        untouched().await?;
    }
    s3.delete(&bucket, &rows).await?;
    refused(try_it(&[]).await?, &["is damaged"])?;
    s3.put(&bucket, &rows, whole).await?;

    let proof = key("/proofs/")?;
    let record: serde_json::Value = serde_json::from_slice(&s3.get(&bucket, &proof).await?)?;
    let folder = proof.rsplit_once('/').context("a folder")?.0.to_owned();
    let later = format!("{folder}/29991231T000000Z.json");
    for (field, value, said) in [
        ("passed", serde_json::json!(false), "its last proof"),
        ("level", serde_json::json!("archive"), "only its stored bytes were checked"),
    ] {
        let mut record = record.clone();
        record[field] = value;
        s3.put(&bucket, &later, record.to_string().into_bytes()).await?;
        refused(try_it(&[]).await?, &[said, "--force-unproven", &format!("savepoint verify {id}")])?;
        untouched().await?;
    }
    s3.delete(&bucket, &later).await?;
    s3.delete(&bucket, &proof).await?;
    refused(try_it(&[]).await?, &["it was never proven"])?;
    untouched().await?;
    try_it(&["--force-unproven"]).await?.expect(0)?;
    server.drop_db("it_damage_new").await?;

    s3.delete(&bucket, &key("manifest.json")?).await?;
    refused(try_it(&[]).await?, &["has no manifest.json"])?;
    untouched().await?;
    let ended = try_it(&["--force-unproven", "--json"]).await?.expect(0)?;
    ensure!(ended.json()?["verified"] == false, "{}", ended.output());
    let found = compare((server, db), (server, "it_damage_new")).await?;
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

#[tokio::test]
async fn clean_takes_a_safety_backup_first() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_clean";
    let store = shop(server, db).await?;
    server.psql(db, "UPDATE orders SET note = 'newer'; CREATE TABLE newer AS SELECT 1 AS id").await?;
    let run = || {
        let run = restore(server, &server.url(db))?.to_folder(store.path());
        Ok::<_, anyhow::Error>(run.args(["--kind", "manual", "--clean", "--confirm", db, "--json"]))
    };
    // A safety backup that cannot be taken: nothing is touched.
    server.psql(db, "CREATE ROLE it_clean_role LOGIN CREATEDB; ").await?;
    let poor = restore(server, &server.url_at(server.port, "it_clean_role", db))?.to_folder(store.path());
    let poor = poor.args(["--kind", "manual", "--clean", "--confirm", db, "--no-owner"]).run().await?;
    refused(poor, &["the safety backup of it_clean failed", "nothing was touched"])?;
    ensure!(server.psql(db, "SELECT count(*) FROM newer").await? == "1");

    let ended = run()?.run().await?.expect(0)?;
    ended.left_nothing()?;
    let told = ended.json()?;
    let safety = told["safety_backup"].as_str().context("safety_backup")?;
    ensure!(safety.contains("-pre-restore-"), "{safety}");
    ensure!(
        server
            .psql(db, "SELECT count(*) FROM orders WHERE note = 'newer'; SELECT to_regclass('newer') IS NULL")
            .await?
            == "0\nt"
    );
    ensure!(databases_like(server, "it_clean%").await? == [db], "something is left beside it");
    // And back.
    let back = restore(server, &server.url(db))?.to_folder(store.path());
    back.args([safety, "--clean", "--confirm", db, "--no-safety-backup"]).run().await?.expect(0)?;
    ensure!(
        server.psql(db, "SELECT count(*) FROM orders WHERE note = 'newer'; SELECT count(*) FROM newer").await?
            == "20000\n1"
    );
    Ok(())
}

/// A role that may make no databases, as where one is rented out: the objects are dropped in place.
#[tokio::test]
async fn clean_where_no_database_can_be_made() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_rented";
    server
        .psql("postgres", "CREATE ROLE it_tenant LOGIN; CREATE DATABASE it_rented OWNER it_tenant TEMPLATE template0")
        .await?;
    let url = server.url_at(server.port, "it_tenant", db);
    let as_tenant = format!(
        "SET ROLE it_tenant; {SHOP} SELECT lo_from_bytea(0, 'large'); CREATE TYPE mood AS ENUM ('a'); CREATE EXTENSION citext"
    );
    server.psql(db, &as_tenant).await?;
    let store = scratch()?;
    Savepoint::backup(&url, &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    server.psql(db, "SET ROLE it_tenant; DELETE FROM extra.things; CREATE TABLE newer (); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE AGGREGATE a (int) (SFUNC = int4pl, STYPE = int)").await?;
    let run = || {
        Ok::<_, anyhow::Error>(restore(server, &url)?.to_folder(store.path()).args([
            "--kind",
            "manual",
            "--clean",
            "--confirm",
            db,
        ]))
    };
    refused(
        run()?.args(["--no-safety-backup"]).run().await?,
        &["may make no databases", "not without a safety backup"],
    )?;
    let ended = run()?.args(["--json"]).run().await?.expect(0)?;
    ended.left_nothing()?;
    let told = ended.json()?;
    ensure!(told["safety_backup"].is_string() && told["differences"] == serde_json::json!([]), "{told:#}");
    ensure!(
        server
            .psql(
                db,
                "SELECT count(*) FROM extra.things; SELECT to_regclass('newer') IS NULL AND to_regproc('f') IS NULL"
            )
            .await?
            == "77\nt"
    );
    Ok(())
}

#[tokio::test]
async fn parts() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_parts";
    let store = shop(server, db).await?;
    let run = async |into: &str, args: &[&str]| {
        restore(server, &server.url(into))?
            .to_folder(store.path())
            .args(["--database", db])
            .args(args.to_vec())
            .run()
            .await
    };
    let ended = run("it_parts_1", &["--tables", "orders"]).await?.expect(0)?;
    ensure!(ended.output().contains("left out: foreign key public.orders orders_customer_fkey"), "{}", ended.output());
    let state = "SELECT count(*) FROM orders; SELECT to_regclass('customers') IS NULL; SELECT last_value FROM orders_id_seq; \
        SELECT count(*) FROM pg_indexes WHERE tablename = 'orders'; SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal; \
        SELECT count(*) FROM pg_namespace WHERE nspname = 'extra'";
    let is = server.psql("it_parts_1", state).await?;
    ensure!(is == "20000\nt\n20000\n2\n1\n0", "{is}");

    run("it_parts_2", &["--schemas", "extra"]).await?.expect(0)?;
    ensure!(
        server.psql("it_parts_2", "SELECT count(*) FROM extra.things; SELECT to_regclass('orders') IS NULL").await?
            == "77\nt"
    );
    refused(run("it_parts_0", &["--tables", "nosuch"]).await?, &["holds nothing that option tables names by nosuch"])?;
    let some = run("it_parts_0", &["--tables", "orders,nosuch"]).await?;
    refused(some, &["holds nothing that option tables names by nosuch"])?;
    ensure!(!exists(server, "it_parts_0").await?);

    run("it_parts_3", &["--schema-only"]).await?.expect(0)?;
    ensure!(server.psql("it_parts_3", "SELECT count(*) FROM orders; SELECT count(*) FROM busy").await? == "0\n0");
    // Rows only, past a trigger that would change them and a foreign key that would refuse them.
    run("it_parts_3", &["--data-only"]).await?.expect(0)?;
    let found = compare((server, db), (server, "it_parts_3")).await?;
    ensure!(found.is_empty(), "{found:#?}");
    refused(run("it_parts_3", &["--data-only"]).await?, &["holds rows", "TRUNCATE"])?;
    server
        .psql("it_parts_3", "TRUNCATE orders, customers; TRUNCATE extra.things; ALTER TABLE orders DROP COLUMN note")
        .await?;
    refused(run("it_parts_3", &["--data-only"]).await?, &["has no column note"])?;
    Ok(())
}

#[tokio::test]
async fn a_role_that_is_no_superuser() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_plainly";
    server.create_db(db, "").await?;
    let sql = format!(
        "{SHOP} CREATE ROLE it_big_owner; CREATE ROLE it_plain LOGIN CREATEDB; ALTER TABLE orders OWNER TO it_big_owner; \
        CREATE EXTENSION citext; GRANT SELECT ON customers TO it_big_owner; COMMENT ON SCHEMA public IS 'ours'"
    );
    server.psql(db, &sql).await?;
    let store = scratch()?;
    stored(server, db, store.path(), &[]).await?;
    let url = server.url_at(server.port, "it_plain", "it_plainly_2");
    let run = || Ok::<_, anyhow::Error>(restore(server, &url)?.to_folder(store.path()).args(["--database", db]));
    refused(run()?.run().await?, &["is no member of roles that own objects", "it_big_owner", "--no-owner"])?;
    let ended = run()?.args(["--no-owner", "--json"]).run().await?.expect(0)?;
    let told = ended.json()?;
    ensure!(told["verified"] == true, "{told:#}");
    let owners = "SELECT string_agg(DISTINCT tableowner, ',') FROM pg_tables WHERE schemaname IN ('public', 'extra')";
    ensure!(server.psql("it_plainly_2", owners).await? == "it_plain");
    // As where a provider has made the database, with an extension in it that is not the user's to comment on.
    server.psql("postgres", "CREATE DATABASE it_plainly_3 OWNER it_plain TEMPLATE template0").await?;
    server.psql("it_plainly_3", "CREATE EXTENSION citext").await?;
    let run = restore(server, &server.url_at(server.port, "it_plain", "it_plainly_3"))?.to_folder(store.path());
    let ended = run.args(["--database", db, "--no-owner", "--json"]).run().await?.expect(0)?;
    let told = ended.json()?;
    ensure!(told["verified"] == true, "{told:#}");
    ensure!(told["warnings"].to_string().contains("only a superuser may restore this"), "{told:#}");
    Ok(())
}

/// What the user may not create is asked before the first byte, all of it at once, and an administrator's statements are a cure.
#[tokio::test]
async fn what_an_administrator_must_do_is_said_before() -> Result {
    let (source, target) = (pg::server(16).await?, Server::start(16, "").await?);
    let db = "it_managed";
    source.create_db(db, "").await?;
    let sql =
        "CREATE ROLE it_managed_owner; CREATE EXTENSION file_fdw; CREATE EXTENSION citext; CREATE EXTENSION dblink;
        CREATE SCHEMA own; CREATE TABLE own.t AS SELECT 1 AS id; CREATE VIEW seen AS SELECT 2 AS id;
        ALTER SCHEMA own OWNER TO it_managed_owner; ALTER TABLE own.t OWNER TO it_managed_owner; ALTER VIEW seen OWNER TO it_managed_owner";
    source.psql(db, sql).await?;
    let store = scratch()?;
    stored(source, db, store.path(), &[]).await?;
    target.psql("postgres", "CREATE ROLE it_tenant LOGIN CREATEDB").await?;
    let url = target.url_at(target.port, "it_tenant", "tenant");
    let run = || Ok::<_, anyhow::Error>(restore(&target, &url)?.to_folder(store.path()).args(["--create-roles"]));
    let ended = refused(
        run()?.run().await?,
        &[
            "may not create extension dblink and file_fdw of the backup: permission denied",
            "may not create the roles that are missing: it_managed_owner",
            "in schema public may not make any there: it_managed_owner",
        ],
    )?;
    ensure!(!exists(&target, "tenant").await?, "something was made");
    // The statements as they are printed, one after the other, each where it belongs.
    let hint = ended.stderr.split("let an administrator run: ").nth(1).context("no statements")?;
    let statements: Vec<&str> =
        hint.lines().next().context("a line")?.split("; ").filter(|s| !s.starts_with("--")).collect();
    ensure!(statements.len() == 6, "{statements:?}");
    for statement in statements {
        let database =
            if statement.contains("EXTENSION") || statement.contains("SCHEMA") { "tenant" } else { "postgres" };
        target.psql(database, statement).await?;
    }
    let told = run()?.args(["--json"]).run().await?.expect(0)?.json()?;
    ensure!(told["verified"] == true, "{told:#}");
    Ok(())
}

/// A role that may make roles but is no superuser comes to be a member of them, so that it can give things away.
#[tokio::test]
async fn roles_are_created_without_a_superuser() -> Result {
    let (source, target) = (pg::server(MAJOR).await?, pg::server(18).await?);
    let db = "it_roles";
    let roles = "CREATE ROLE it_maker LOGIN; CREATE ROLE it_roles_owner LOGIN; CREATE ROLE it_roles_reader; \
        CREATE DATABASE it_roles OWNER it_maker TEMPLATE template0";
    for statement in roles.split("; ") {
        source.psql("postgres", statement).await?;
    }
    let owners = "ALTER SCHEMA extra OWNER TO it_roles_owner; ALTER TABLE extra.things OWNER TO it_roles_owner; \
        GRANT SELECT ON extra.things TO it_roles_reader";
    source.psql(db, &format!("SET ROLE it_maker; {SHOP} RESET ROLE; {owners}")).await?;
    let store = scratch()?;
    stored(source, db, store.path(), &[]).await?;
    target.psql("postgres", "CREATE ROLE it_maker LOGIN CREATEDB CREATEROLE").await?;
    let run = restore(target, &target.url_at(target.port, "it_maker", "it_roles_copy"))?.to_folder(store.path());
    let ended = run.args(["--database", db, "--create-roles", "--json"]).run().await?;
    let told = ended.expect(0)?.json()?;
    ensure!(told["verified"] == true, "{told:#}");
    let is = "SELECT tableowner FROM pg_tables WHERE tablename = 'things'; \
        SELECT has_table_privilege('it_roles_reader', 'extra.things', 'SELECT'); \
        SELECT string_agg(rolcanlogin::text, ',') FROM pg_roles WHERE rolname LIKE 'it_roles%'";
    let is = target.psql("it_roles_copy", is).await?;
    ensure!(is == "it_roles_owner\nt\nfalse,false", "{is}");
    Ok(())
}

/// Changes the restored database when the comparison begins.
struct Meddler {
    bin: PathBuf,
    conninfo: String,
    done: Mutex<bool>,
}

impl Progress for Meddler {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Started(Phase::Compare)) {
            let out = std::process::Command::new(self.bin.join("psql"))
                .args(["-X", "-q", "-c", "DELETE FROM orders WHERE id = 7", "-d", &self.conninfo])
                .output();
            *self.done.lock().unwrap() = out.is_ok_and(|o| o.status.success());
        }
    }
}

#[tokio::test]
async fn what_is_not_equal_takes_nobodys_place() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_unequal";
    let store = shop(server, db).await?;
    server.psql(db, "CREATE TABLE newer ()").await?;
    let temporary = scratch()?;
    let BackupConfig { source: target, .. } = in_process(server, db, store.path(), temporary.path());
    let config = RestoreConfig {
        place: Place::Swap(Some("it_unequal_new".to_owned())),
        engine: Engine {
            jobs: 2,
            pg_bin_dirs: vec![server.bin.clone()],
            scratch_dir: Some(temporary.path().to_owned()),
            ..Engine::default()
        },
        ..RestoreConfig::new(Pick::latest(), Destination::folder(store.path().to_owned()), target)
    };
    let meddler = Arc::new(Meddler {
        bin: server.bin.clone(),
        conninfo: server.socket("it_unequal_new"),
        done: Mutex::new(false),
    });
    let page = savepoint::restore::run(&config, meddler.clone(), savepoint::cancel::Cancel::new()).await;
    ensure!(*meddler.done.lock().unwrap(), "the row was not deleted: {page:#?}");
    ensure!(page.exit_code == 3, "{page:#?}");
    let outputs = page.outputs.clone();
    let text = PLAIN.render(&page.into(), &Default::default());
    ensure!(text.contains("table public.orders: 1 row fewer, content differs"), "{text}");
    ensure!(outputs.contains(&("verified", "false".to_owned())), "{outputs:?}");
    ensure!(server.psql(db, "SELECT count(*) FROM newer").await? == "0", "the old one was replaced");
    let mark = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'it_unequal_new'";
    ensure!(server.psql("postgres", mark).await?.contains("not equal"));
    Ok(())
}

/// What is small is kept from its check to its restore; what is large is read again, and checked again.
#[tokio::test]
async fn small_files_are_read_once() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_reads";
    let (s3, bucket) = shop_in_s3(server, db, "x").await?;
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let watched = TamperingS3::start(s3, &bucket, Tamper::Delete, move |key| {
        seen.lock().unwrap().push(key.to_owned());
        false
    })
    .await?;
    let run = restore(server, &server.url("it_reads_new"))?.to_s3(&watched.endpoint, &bucket, "x");
    run.args(["latest", "--database", db]).run().await?.expect(0)?.left_nothing()?;
    let asked = asked.lock().unwrap().clone();
    let mut sizes: Vec<(u64, usize)> = Vec::new();
    for object in
        s3.list(&bucket).await?.iter().filter(|o| o.key.contains("/archive/t") && !o.key.ends_with("/toc.dat"))
    {
        sizes.push((object.size, asked.iter().filter(|key| **key == object.key).count()));
    }
    sizes.sort_unstable();
    let times: Vec<usize> = sizes.iter().map(|(_, times)| *times).collect();
    ensure!(times == [1, 1, 2] && sizes[2].0 > 256 << 10, "{sizes:?}");
    Ok(())
}

/// The load does not wait for its commits; when the restore has ended well, a crash of the server takes nothing away all the same.
#[tokio::test]
async fn what_was_restored_survives_a_crash() -> Result {
    // Nothing is written but by those who ask for it.
    let conf = "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB\nwal_buffers = 64MB\nautovacuum = off\ncheckpoint_timeout = 1h";
    let server = Server::start(MAJOR, conf).await?;
    // A crash moves its own sequences on, so the source lies elsewhere.
    let source = pg::server(MAJOR).await?;
    let store = shop(source, "it_crash").await?;
    server.create_db("empty", "").await?;
    let run = restore(&server, &server.url("empty"))?.to_folder(store.path());
    run.args(["latest", "--database", "it_crash"]).run().await?.expect(0)?;
    let pid = server.psql("postgres", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'").await?;
    // The postmaster starts over without what stood in its shared memory.
    let pid = rustix::process::Pid::from_raw(pid.parse()?).context("no process")?;
    rustix::process::kill_process(pid, Signal::KILL)?;
    let begun = std::time::Instant::now();
    while rustix::process::test_kill_process(pid).is_ok() || server.psql("postgres", "SELECT 1").await.is_err() {
        ensure!(begun.elapsed() < Duration::from_secs(30), "the server does not come back");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let found = compare((source, "it_crash"), (&server, "empty")).await?;
    ensure!(found.is_empty(), "{found:#?}");
    ensure!(server.psql("empty", "SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'orders'").await? == "t");
    Ok(())
}

#[tokio::test]
async fn files_of_pg_dump() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_file";
    server.create_db(db, "").await?;
    server.psql(db, SHOP).await?;
    let parted = "CREATE TABLE parted (id int) PARTITION BY RANGE (id); \
         CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (100); \
         CREATE TABLE parted_high PARTITION OF parted DEFAULT; INSERT INTO parted SELECT generate_series(1, 423)";
    server.psql(db, parted).await?;
    let dir = scratch()?;
    // By way of the root, rows are counted in the file under a table that holds none itself.
    let forms: [&[&str]; 5] = [&["-Fc"], &["-Fp"], &["-Ft"], &["-Fd"], &["-Fc", "--load-via-partition-root"]];
    for (n, form) in forms.into_iter().enumerate() {
        let file = dir.path().join(format!("dump{n}")).display().to_string();
        server.tool("pg_dump", &[form, &["-f", &file, "-d", &server.socket(db)]].concat()).await?;
        let into = format!("it_file_{n}");
        let ended = restore(server, &server.url(&into))?
            .args([&file, "--json"])
            .run()
            .await?
            .expect(0)
            .with_context(|| form.join(" "))?;
        ended.left_nothing()?;
        let told = ended.json()?;
        ensure!(told["verified"] == false && told["rows"] == 21000, "{told:#}");
        let found = compare((server, db), (server, &into)).await?;
        ensure!(found.is_empty(), "{form:?}: {found:#?}");
        let clean = restore(server, &server.url(&into))?.args([&file, "--clean", "--confirm", &into]).run().await?;
        refused(clean, &["no destination", "--no-safety-backup"])?;
    }
    let file = find(dir.path(), "dump0")?;
    std::fs::write(&file, &std::fs::read(&file)?[..5000])?;
    let ended =
        restore(server, &server.url("it_file_cut"))?.args([&file.display().to_string()]).run().await?.expect(1)?;
    ensure!(!exists(server, "it_file_cut").await?, "{}", ended.output());
    Ok(())
}
