//! What older versions stored stays readable: backups of theirs, frozen in `tests/it/fixtures`.

use crate::support::{
    Result, copy,
    pg::{self, Server},
    run::Savepoint,
    scratch,
};
use anyhow::{Context, ensure};
use std::path::Path;

/// A copy of what was stored in a format: a proof adds its record.
fn frozen(format: u32) -> Result<tempfile::TempDir> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/fixtures/format-{format}"));
    let dir = scratch()?;
    copy(&from, dir.path())?;
    Ok(dir)
}

fn run(store: &Path, args: &[&str]) -> Result<Savepoint> {
    Ok(Savepoint::new(args.to_vec())?.to_folder(store))
}

/// What the frozen backups hold, read from a restored copy.
async fn content(server: &Server, db: &str) -> Result<String> {
    let sql = "SELECT (SELECT count(*) || ' ' || sum(length(name)) FROM users) || ', ' || (SELECT count(*) || ' ' || sum(total) FROM orders)
        || ', ' || (SELECT count(*) FROM totals) || ', ' || (SELECT count(*) || ' ' || sum(length(lo_get(oid))) FROM pg_largeobject_metadata)
        || ', ' || has_table_privilege('frozen_reader', 'users', 'SELECT') || ', ' || nextval('users_id_seq')";
    server.psql(db, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn format_1_is_listed_proven_restored_compared_and_pruned() -> Result {
    let store = frozen(1)?;
    let list = run(store.path(), &["list", "--json"])?.run().await?.expect(0)?.json()?;
    let backups = list["backups"].as_array().context("no list")?;
    ensure!(backups.len() == 2 && backups.iter().all(|b| b["damage"] == serde_json::json!([])), "{list:#}");
    let mut ids = Vec::new();
    for backup in backups {
        let id = backup["id"].as_str().context("no id")?;
        let version = backup["postgres_version"].as_str().context("no version")?;
        let server = pg::server(version.get(..2).context("no major")?.parse()?).await?;
        let bin = server.bin.display().to_string();
        run(store.path(), &["show", id])?.run().await?.expect(0)?;
        let proof = run(store.path(), &["verify", id, "--pg-bin-dir", &bin])?.run().await?.expect(0)?;
        ensure!(
            proof.stdout.contains("passed, all equal") && proof.stdout.contains("4 large objects"),
            "{}",
            proof.output()
        );
        let db = format!("thawed {version}");
        let restored = run(store.path(), &["restore", id, "--create-roles", "--pg-bin-dir", &bin])?;
        restored.env("SAVEPOINT_TO", &server.url(&db)).run().await?.expect(0)?;
        let found = content(server, &db).await?;
        ensure!(found == "300 2292, 1000 749250.0, 300, 4 2100, true, 301", "{version}: {found}");
        ids.push(id.to_owned());
    }
    run(store.path(), &["diff", &ids[0], &ids[1]])?.run().await?.expect(0)?;
    let ended = run(store.path(), &["prune", "--keep-last", "1", "--min-keep", "1"])?.run().await?.expect(0)?;
    let left = run(store.path(), &["list", "--json"])?.run().await?.expect(0)?.json()?;
    ensure!(left["backups"].as_array().is_some_and(|b| b.len() == 1), "{}\n{left:#}", ended.output());
    Ok(())
}
