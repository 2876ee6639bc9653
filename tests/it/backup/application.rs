//! The schema of a large application: whatever pg_dump -Fc and pg_restore can do with it, we can.

use super::awkward::entries;
use crate::support::{
    Result,
    compare::compare,
    find,
    pg::{Server, psql},
    run::Savepoint,
    scratch,
};
use anyhow::ensure;

async fn survives(major: u32) -> Result {
    // A server of its own: the role names are the application's.
    let (source, target) = (Server::start(major, "").await?, Server::start(major, "").await?);
    let db = "application";
    source.create_db(db, "ENCODING 'UTF8' LOCALE 'C.UTF-8'").await?;
    source.psql_file(db, "application.sql").await?;
    let tables = "SELECT count(*) > 1000 FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace >= 16384";
    ensure!(source.psql(db, tables).await? == "t", "not a thousand tables");
    psql(&target.bin, &target.socket("postgres"), "CREATE ROLE app_role_reader; CREATE ROLE app_role_writer").await?;
    let dir = scratch()?;
    for name in ["theirs", "plain", "ours"] {
        target.create_db(name, "ENCODING 'UTF8' LOCALE 'C.UTF-8'").await?;
    }
    let dump = dir.path().join("dump").display().to_string();
    source.tool("pg_dump", &["-Fc", "-f", &dump, "-d", &source.socket(db)]).await?;
    target.tool("pg_restore", &["--exit-on-error", "-d", &target.socket("theirs"), &dump]).await?;
    let found = compare((&source, db), (&target, "theirs")).await?;
    ensure!(found.is_empty(), "pg_dump and pg_restore: {found:#?}");

    let store = dir.path().join("store");
    let taken = Savepoint::backup(&source.url(db), &source.bin)?.to_folder(&store).run().await?.expect(0)?;
    ensure!(taken.stdout.contains("passed, all equal"), "{}", taken.output());
    let archive = find(&store, "archive")?;
    source.pg_dump(db, &dir.path().join("own")).await?;
    let (ours, theirs) = (entries(&source, &archive).await?, entries(&source, &dir.path().join("own")).await?);
    ensure!(ours == theirs, "the archive's entries are not those of pg_dump");
    // pg_restore learns the sizes of files from what the archive says of their compression, and loads the largest first: without
    // them it makes the trigger of the partitioned table while rows still come, and the log gets each of them twice.
    let list = source.tool("pg_restore", &["-l", &archive.display().to_string()]).await?;
    let compression = if major >= 16 { "Compression: zstd" } else { "Compression: 4" };
    ensure!(String::from_utf8_lossy(&list).contains(compression), "{}", String::from_utf8_lossy(&list));
    target.pg_restore("plain", &archive).await?;
    let found = compare((&source, db), (&target, "plain")).await?;
    ensure!(found.is_empty(), "our archive by pg_restore: {found:#?}");
    let restore = Savepoint::new(["restore", "latest", "--pg-bin-dir", &target.bin.display().to_string()])?;
    restore.to_folder(&store).env("SAVEPOINT_TO", &target.url("ours")).run().await?.expect(0)?;
    let found = compare((&source, db), (&target, "ours")).await?;
    ensure!(found.is_empty(), "our restore: {found:#?}");
    Ok(())
}

#[tokio::test]
async fn a_large_application_15() -> Result {
    survives(15).await
}

#[tokio::test]
async fn a_large_application_18() -> Result {
    survives(18).await
}
