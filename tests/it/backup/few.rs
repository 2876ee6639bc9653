//! One connection or two, as some plans of hosted databases give a role: everything is taken and proven all the same.

use super::awkward::entries;
use crate::support::{Result, compare::compare, find, pg, pg::Server, run::Savepoint, scratch};
use anyhow::{Context, ensure};

async fn few(major: u32, connections: u32) -> Result {
    let server = Server::start(major, "").await?;
    let db = "it awkward";
    server.awkward(db).await?;
    // Superusers have no limit; a member of the owner reads what the owner reads.
    let role = format!(
        "CREATE ROLE few LOGIN BYPASSRLS CONNECTION LIMIT {connections}; GRANT postgres, pg_read_all_data TO few;
        DO $$ DECLARE o oid; BEGIN FOR o IN SELECT oid FROM pg_largeobject_metadata LOOP
        EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO few', o); END LOOP; END $$;
        -- Its options are shown to superusers only.
        DROP USER MAPPING FOR awk_owner SERVER \"far away\""
    );
    server.psql(db, &role).await?;
    let store = scratch()?;
    let url = server.url_at(server.port, "few", db);
    let ended = Savepoint::backup(&url, &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    ended.left_nothing()?;
    let said = if connections == 1 { "room for a single one" } else { "room for two" };
    ensure!(ended.stderr.contains(said), "{}", ended.output());
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(find(store.path(), "manifest.json")?)?)?;
    let tables = manifest["tables"].as_array().context("tables")?;
    let streamed = tables.iter().filter(|t| t["taken_by"] == "streams").count();
    ensure!((streamed == 0) == (connections == 1) && tables.len() > 20, "{streamed} of {} are streamed", tables.len());

    let (archive, own) = (find(store.path(), "archive")?, scratch()?);
    server.pg_dump(db, &own.path().join("dump")).await?;
    let (ours, theirs) = (entries(&server, &archive).await?, entries(&server, &own.path().join("dump")).await?);
    ensure!(ours == theirs, "the archive's entries are not those of pg_dump");
    let target = Server::start(major, "").await?;
    let globals = server.tool("pg_dumpall", &["--globals-only", "-d", &server.socket("postgres")]).await?;
    let globals = [b"\\set ON_ERROR_STOP off\n".as_slice(), &globals].concat();
    pg::psql(&target.bin, &target.socket("postgres"), globals).await?;
    target.create_db(db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'").await?;
    target.pg_restore(db, &archive).await?;
    let found = compare((&server, db), (&target, db)).await?;
    ensure!(found.is_empty(), "{found:#?}");

    // What differs is seen: the proof of such a backup compares rows as any other does.
    if connections == 1 {
        damage_is_seen(&server, db, store.path()).await?;
    }
    Ok(())
}

/// A fingerprint that is not that of the rows fails the proof.
async fn damage_is_seen(server: &Server, db: &str, store: &std::path::Path) -> Result {
    let path = find(store, "manifest.json")?;
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let tables = manifest["tables"].as_array_mut().context("tables")?;
    let table = tables.iter_mut().find(|t| t["rows"].as_u64() > Some(0)).context("no rows")?;
    table["fingerprint"] = serde_json::json!("0".repeat(32));
    std::fs::write(&path, crate::support::sealed(&manifest)?)?;
    let verify =
        Savepoint::new(["verify", "latest", "--database", db, "--pg-bin-dir", &server.bin.display().to_string()])?;
    let ended = verify.to_folder(store).run().await?.expect(3)?;
    ensure!(ended.stdout.contains("content differs"), "{}", ended.output());
    Ok(())
}

#[tokio::test]
async fn one_connection_14() -> Result {
    few(14, 1).await
}

#[tokio::test]
async fn one_connection_18() -> Result {
    few(18, 1).await
}

#[tokio::test]
async fn two_connections_17() -> Result {
    few(17, 2).await
}
