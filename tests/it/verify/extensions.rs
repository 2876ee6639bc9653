//! Extensions that want more than CREATE EXTENSION, as Debian packs them: proven, restored, and by the commands that are printed.

use crate::support::{Result, pg::Server, run::Savepoint, scratch};
use anyhow::{Context, ensure};
use std::path::Path;

const TIMESCALE: &str = "CREATE EXTENSION timescaledb;
    CREATE TABLE readings (t timestamptz NOT NULL, device int, v float8);
    SELECT create_hypertable('readings', 't', chunk_time_interval => interval '7 day');
    INSERT INTO readings SELECT timestamptz '2026-01-01' + g * interval '1 hour', g % 10, g FROM generate_series(1, 3000) g;
    CREATE INDEX ON readings (device, t DESC)";

/// What a hypertable that works says: rows, chunks, and that rows find their way into a new chunk.
async fn works(server: &Server, db: &str) -> Result {
    let sql = "SELECT count(*), count(DISTINCT time_bucket('1 day', t)), (SELECT count(*) FROM timescaledb_information.chunks) FROM readings;
        INSERT INTO readings VALUES ('2030-01-01', 1, 1);
        SELECT count(*) FROM timescaledb_information.chunks; DELETE FROM readings WHERE t = '2030-01-01';
        SHOW timescaledb.restoring";
    let found = server.psql(db, sql).await?;
    ensure!(found == "3000|126|18\n19\noff", "{db}: {found}");
    Ok(())
}

fn run(server: &Server, args: &[&str]) -> Result<Savepoint> {
    Ok(Savepoint::new(args.to_vec())?.args(["--pg-bin-dir", &server.bin.display().to_string()]))
}

/// What a backup prints under "restore without us", run by a shell.
async fn without_us(server: &Server, printed: &str, db: &str) -> Result {
    let begin = printed.find("restore without us:\n").context("no commands")?;
    let commands: Vec<&str> =
        printed[begin..].lines().skip(1).take_while(|l| l.starts_with("  ")).map(str::trim).collect();
    ensure!(commands.len() == 4, "{commands:#?}");
    let mut shell = tokio::process::Command::new("bash");
    shell.args(["-ec", &commands.join("\n")]).env_clear().env("TARGET", server.socket(db));
    let out = shell.env("PATH", format!("{}:/usr/bin:/bin", server.bin.display())).output().await?;
    ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

#[tokio::test]
async fn a_hypertable_is_proven_and_restored() -> Result {
    let conf = "shared_preload_libraries = 'timescaledb'\nmax_worker_processes = 16";
    let Some(server) = Server::debian("17deb", conf).await? else { return Ok(()) };
    server.create_db("ts", "").await?;
    server.psql("ts", TIMESCALE).await?;
    let dir = scratch()?;
    let store = dir.path().join("store");
    let backup = || Ok::<_, anyhow::Error>(Savepoint::backup(&server.url("ts"), &server.bin)?.to_folder(&store));
    let taken = backup()?.run().await?.expect(0)?;
    ensure!(taken.stdout.contains("passed, all equal"), "{}", taken.output());
    // On another server as well, which goes on with its own jobs.
    let there = backup()?.args(["--verify-url", &server.url("postgres")]).run().await?.expect(0)?;
    ensure!(there.stdout.contains("passed, all equal") && there.stdout.contains("(verify-url)"), "{}", there.output());

    let restore = run(&server, &["restore", "latest", "--create", "ours"])?.to_folder(&store);
    let restored = restore.env("SAVEPOINT_TO", &server.url("postgres")).run().await?.expect(0)?;
    ensure!(restored.stdout.contains("is restored into ours, and equal"), "{}", restored.output());
    works(&server, "ours").await?;
    server.create_db("plain", "").await?;
    without_us(&server, &taken.stdout, "plain").await?;
    works(&server, "plain").await?;

    // Dumps of pg_dump itself.
    for (format, name) in [("-Fc", "ts.dump"), ("-Fp", "ts.sql"), ("-Fd", "ts.dir")] {
        let file = dir.path().join(name).display().to_string();
        server.tool("pg_dump", &[format, "-f", &file, "-d", &server.socket("ts")]).await?;
        let verified = run(&server, &["verify", &file])?.run().await?.expect(0)?;
        ensure!(verified.stdout.contains("without an error"), "{}", verified.output());
        let into = format!("of {name}");
        server.create_db(&into, "").await?;
        run(&server, &["restore", &file])?.env("SAVEPOINT_TO", &server.url(&into)).run().await?.expect(0)?;
        works(&server, &into).await?;
    }
    Ok(())
}

/// A restore that is broken off leaves no database that waits for its end.
#[tokio::test]
async fn a_broken_off_restore_leaves_nobody_waiting() -> Result {
    let conf = "shared_preload_libraries = 'timescaledb'\nmax_worker_processes = 16";
    let Some(server) = Server::debian("17deb", conf).await? else { return Ok(()) };
    server.create_db("ts", "").await?;
    let slow = "CREATE TABLE things AS SELECT g AS id FROM generate_series(1, 100) g;
        CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.1); RETURN $1; END';
        CREATE INDEX ON things (public.slow(id))";
    server.psql("ts", &format!("{TIMESCALE}; {slow}")).await?;
    let store = scratch()?;
    let backup = Savepoint::backup(&server.url("ts"), &server.bin)?.to_folder(store.path());
    backup.args(["--verify", "archive"]).run().await?.expect(0)?;
    server.create_db("there", "").await?;
    let restore = run(&server, &["restore", "latest", "--force-unproven"])?.to_folder(store.path());
    let running = restore.env("SAVEPOINT_TO", &server.url("there")).spawn()?;
    running.descendant("--section=post-data").await?;
    running.signal(rustix::process::Signal::TERM)?;
    let ended = running.wait().await?.expect(1)?;
    ensure!(!ended.stderr.contains("is left"), "{}", ended.output());
    // The extension itself stays, as any does that a target was emptied of.
    let left = "SELECT count(*) FROM pg_db_role_setting WHERE setconfig::text LIKE '%restoring%'";
    ensure!(server.psql("there", left).await? == "0", "the database waits for the end of a restore");
    let again = run(&server, &["restore", "latest", "--force-unproven"])?.to_folder(store.path());
    again.env("SAVEPOINT_TO", &server.url("there")).run().await?.expect(0)?;
    works(&server, "there").await
}

/// Rows that changed in a chunk are seen: the proof covers what lies in a hypertable.
#[tokio::test]
async fn a_damaged_chunk_fails_the_proof() -> Result {
    let conf = "shared_preload_libraries = 'timescaledb'\nmax_worker_processes = 16";
    let Some(server) = Server::debian("17deb", conf).await? else { return Ok(()) };
    server.create_db("ts", "").await?;
    server.psql("ts", TIMESCALE).await?;
    let store = scratch()?;
    Savepoint::backup(&server.url("ts"), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    let path = crate::support::find(store.path(), "manifest.json")?;
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let tables = manifest["tables"].as_array_mut().context("tables")?;
    let chunk =
        tables.iter_mut().find(|t| t["name"].as_str().is_some_and(|n| n.starts_with("_hyper_"))).context("no chunk")?;
    let one = chunk["chunks"].as_array_mut().and_then(|c| c.first_mut()).context("no piece")?;
    let rows = one["rows"].as_u64().context("rows")? + 1;
    one["rows"] = rows.into();
    chunk["rows"] = rows.into();
    std::fs::write(&path, crate::support::sealed(&manifest)?)?;
    let ended = run(&server, &["verify", "latest"])?.to_folder(store.path()).run().await?.expect(3)?;
    ensure!(ended.stdout.contains("1 row fewer"), "{}", ended.output());
    Ok(())
}

/// Vectors, geometry, jobs, partitions and graphs. AGE must not be preloaded while others are created; cron must not run its jobs.
#[tokio::test]
async fn vectors_geometry_jobs_partitions_and_graphs() -> Result {
    let conf = "shared_preload_libraries = 'pg_cron,pg_stat_statements,pg_partman_bgw,auto_explain'\ncron.database_name = 'ext'";
    let Some(server) = Server::debian("17deb", conf).await? else { return Ok(()) };
    server.create_db("ext", "").await?;
    let sql = "CREATE EXTENSION vector; CREATE TABLE items (id serial, e vector(3));
        INSERT INTO items (e) SELECT ARRAY[g, g + 1, g + 2]::vector FROM generate_series(1, 100) g;
        CREATE INDEX ON items USING hnsw (e vector_l2_ops);
        CREATE EXTENSION postgis; CREATE TABLE places (id serial, g geometry(Point, 4326));
        INSERT INTO places (g) SELECT ST_SetSRID(ST_MakePoint(x, x), 4326) FROM generate_series(1, 50) x;
        CREATE INDEX ON places USING gist (g);
        INSERT INTO spatial_ref_sys VALUES (990000, 'mine', 1, 'x', 'y');
        CREATE EXTENSION pg_cron; CREATE TABLE ran (at timestamptz);
        SELECT cron.schedule('each', '1 second', 'INSERT INTO public.ran VALUES (now())');
        CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman;
        CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at);
        SELECT partman.create_parent('public.events', 'at', '1 day');
        INSERT INTO events SELECT g, now() FROM generate_series(1, 50) g;
        CREATE EXTENSION pg_stat_statements;
        CREATE EXTENSION age; LOAD 'age'; SET search_path = ag_catalog, public; SELECT create_graph('people');
        SELECT * FROM cypher('people', $$ CREATE (:Person {name: 'ann'})-[:KNOWS]->(:Person {name: 'bob'}) $$) AS (v agtype)";
    server.psql("ext", sql).await?;
    let store = scratch()?;
    let taken = Savepoint::backup(&server.url("ext"), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    ensure!(taken.stdout.contains("passed, all equal"), "{}", taken.output());
    let manifest = std::fs::read(crate::support::find(store.path(), "manifest.json")?)?;
    let manifest: serde_json::Value = serde_json::from_slice(&manifest)?;
    ensure!(manifest["source"]["preloaded"].as_array().is_some_and(|p| p.len() == 4), "{:#}", manifest["source"]);
    loaded(&server, store.path()).await
}

/// In the throwaway server: what the source preloads is there, and none of its jobs runs.
async fn loaded(server: &Server, store: &Path) -> Result {
    let checks = store.join("checks.sql");
    std::fs::write(
        &checks,
        "SELECT 'not loaded: ' || l FROM unnest(ARRAY['pg_cron', 'pg_stat_statements', 'auto_explain']) l
          WHERE l <> ALL (string_to_array(current_setting('shared_preload_libraries'), ','));
        SELECT waited FROM (SELECT pg_sleep(1.5)::text AS waited) w WHERE waited <> '';
        SELECT 'a job ran: ' || at FROM ran WHERE at > (SELECT pg_postmaster_start_time());
        SELECT 'no job' WHERE NOT EXISTS (SELECT FROM cron.job)",
    )?;
    let verify = run(server, &["verify", "latest", "--check-sql", &checks.display().to_string()])?.to_folder(store);
    let ended = verify.run().await?.expect(0)?;
    ensure!(ended.stdout.contains("passed, all equal"), "{}", ended.output());
    Ok(())
}
