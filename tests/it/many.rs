//! More tables than we take over: pg_dump writes the rest, and the proof covers both.

use crate::support::{Result, pg, run::Savepoint, scratch};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};

/// Tables of the test; 2,000 of them are taken over.
const TABLES: usize = 2_060;

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.ends_with(name) {
            return Ok(path);
        }
        if path.is_dir()
            && let Ok(found) = find(&path, name)
        {
            return Ok(found);
        }
    }
    anyhow::bail!("no {name} below {}", dir.display())
}

#[tokio::test]
async fn pg_dump_writes_what_we_do_not_take_over() -> Result {
    let server = pg::Server::start(17, "max_locks_per_transaction = 256").await?;
    server.create_db("it_many", "").await?;
    let sql = format!(
        "DO $$ BEGIN FOR i IN 1..{TABLES} LOOP EXECUTE format('CREATE TABLE t%s AS SELECT %s AS id', i, i); \
         IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$"
    );
    server.psql("it_many", &sql).await?;
    let store = scratch()?;
    let ended =
        Savepoint::backup(&server.url("it_many"), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    ended.left_nothing()?;
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(find(store.path(), "manifest.json")?)?)?;
    let tables = manifest["tables"].as_array().context("tables")?;
    let by = |who: &str| tables.iter().filter(|t| t["taken_by"] == who).count();
    ensure!((by("streams"), by("pg-dump")) == (2_000, TABLES - 2_000), "{} and {}", by("streams"), by("pg-dump"));
    ensure!(tables.iter().all(|t| t["rows"] == 1), "a table without its row");

    server.create_db("it_many_copy", "").await?;
    server.pg_restore("it_many_copy", &find(store.path(), "archive")?).await?;
    let sum = "SELECT sum((xpath('/row/id/text()', query_to_xml(format('SELECT id FROM %s', oid::regclass), false, true, '')))[1]::text::int) \
               FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    let (was, is) = (server.psql("it_many", sum).await?, server.psql("it_many_copy", sum).await?);
    ensure!(was == is && was == (TABLES * (TABLES + 1) / 2).to_string(), "{was} and {is}");
    Ok(())
}
