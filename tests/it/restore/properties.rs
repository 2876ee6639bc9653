//! What belongs to the database itself: settings, grants, comment, limit, owner. Stored in plain SQL, proven, restored.

use crate::support::{
    Result, find,
    pg::{self, Server},
    run::Savepoint,
    scratch, sealed,
};
use anyhow::{Context, ensure};
use std::{fs, path::Path};

/// A database with everything that can be set of one; one of the values is nobody's business.
async fn shop(server: &Server, db: &str) -> Result {
    server.create_db(db, "").await?;
    let (name, reader, writer) =
        (pg::quote(db), pg::quote(&format!("{db} reader")), pg::quote(&format!("{db} writer")));
    let sql = format!(
        "CREATE ROLE {reader}; CREATE ROLE {writer} LOGIN; CREATE TABLE t AS SELECT 1 AS a;
        ALTER DATABASE {name} SET timezone = 'Asia/Tokyo';
        ALTER DATABASE {name} SET search_path = app, \"$user\", public;
        ALTER DATABASE {name} SET \"app.jwt_secret\" = 'hunter2; drop';
        ALTER DATABASE {name} SET default_transaction_read_only = on;
        ALTER DATABASE {name} SET statement_timeout = '200ms';
        ALTER ROLE {writer} IN DATABASE {name} SET work_mem = '7MB';
        ALTER DATABASE {name} CONNECTION LIMIT 50;
        COMMENT ON DATABASE {name} IS 'orders; of the \"shop\"''s';
        REVOKE CONNECT ON DATABASE {name} FROM public; GRANT CONNECT ON DATABASE {name} TO {reader};
        ALTER DATABASE {name} OWNER TO {writer}"
    );
    // The settings would meet psql's next statements otherwise.
    server.psql(db, &sql).await?;
    Ok(())
}

/// All of it, as the catalog says.
async fn properties(server: &Server, db: &str) -> Result<String> {
    let sql = format!(
        "SELECT pg_get_userbyid(datdba) || '; ' || datconnlimit || '; ' || coalesce(shobj_description(oid, 'pg_database'), '-') || '; ' ||
            (SELECT string_agg(a::text, ', ' ORDER BY a::text) FROM unnest(datacl) a) || '; ' ||
            (SELECT string_agg(coalesce(r.rolname, '*') || ': ' || s::text, ', ' ORDER BY r.rolname NULLS FIRST, s::text)
               FROM pg_db_role_setting p LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) s WHERE setdatabase = d.oid)
         FROM pg_database d WHERE datname = '{}'",
        db.replace('\'', "''")
    );
    server.psql("postgres", &sql).await
}

fn run(server: &Server, args: &[&str], store: &Path) -> Result<Savepoint> {
    let run = Savepoint::new(args.to_vec())?.args(["--pg-bin-dir", &server.bin.display().to_string()]);
    Ok(run.to_folder(store))
}

async fn survive(major: u32) -> Result {
    let (source, target) = (pg::server(major).await?, Server::start(major, "").await?);
    let db = "it Prop \"erties";
    shop(source, db).await?;
    let was = properties(source, db).await?;
    ensure!(was.contains("hunter2") && was.contains("7MB") && was.contains("Tokyo"), "{was}");
    let store = scratch()?;
    let taken = Savepoint::backup(&source.url(db), &source.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    ensure!(taken.stdout.contains("passed, all equal"), "{}", taken.output());

    // Without us: two files for psql, and the archive.
    let folder = find(store.path(), "manifest.json")?.parent().context("no folder")?.to_owned();
    for name in ["globals.sql", "database.sql"] {
        let script = [b"\\set ON_ERROR_STOP off\n".as_slice(), &fs::read(folder.join(name))?].concat();
        pg::psql(&target.bin, &target.socket("postgres"), script).await?;
    }
    ensure!(properties(&target, db).await? == was, "by psql: {}", properties(&target, db).await?);
    target.drop_db(db).await?;

    // By us, under another name, and by a swap into a database that is empty.
    let restored = |target: &Server, into: &str, args: &[&str]| {
        let mut all = vec!["restore", "latest", "--database", db];
        all.extend(args);
        let run = run(source, &all, store.path()).map(|r| r.env("SAVEPOINT_TO", &target.url(into)));
        async move { run?.run().await }
    };
    restored(&target, "postgres", &["--create", "other"]).await?.expect(0)?;
    ensure!(properties(&target, "other").await? == was, "--create: {}", properties(&target, "other").await?);
    target.create_db("fresh", "").await?;
    restored(&target, "fresh", &["--swap"]).await?.expect(0)?;
    ensure!(properties(&target, "fresh").await? == was, "--swap: {}", properties(&target, "fresh").await?);

    // A database that is there keeps its own, unless it is asked to take these.
    target.create_db("there", "").await?;
    target
        .psql("there", "ALTER DATABASE there SET work_mem = '9MB'; REVOKE TEMP ON DATABASE there FROM PUBLIC")
        .await?;
    let own = properties(&target, "there").await?;
    restored(&target, "there", &[]).await?.expect(0)?;
    ensure!(properties(&target, "there").await? == own, "{}", properties(&target, "there").await?);
    target.psql("there", "DROP TABLE t").await?;
    restored(&target, "there", &["--database-properties"]).await?.expect(0)?;
    ensure!(properties(&target, "there").await?.contains("hunter2"), "{}", properties(&target, "there").await?);
    // Owner and grants are none of the settings.
    restored(&target, "postgres", &["--create", "plain", "--no-owner"]).await?.expect(0)?;
    let plain = properties(&target, "plain").await;
    ensure!(plain.as_ref().is_ok_and(|p| p.is_empty()), "no grants, so the line is NULL: {plain:?}");
    let limit = target.psql("postgres", "SELECT datconnlimit FROM pg_database WHERE datname = 'plain'").await?;
    ensure!(limit == "50", "{limit}");
    Ok(())
}

#[tokio::test]
async fn they_survive_14() -> Result {
    survive(14).await
}

#[tokio::test]
async fn they_survive_18() -> Result {
    survive(18).await
}

/// A stored setting that a restore does not bring back fails the proof; its value is told to nobody.
#[tokio::test]
async fn a_property_that_is_lost_fails_the_proof() -> Result {
    let server = pg::server(17).await?;
    let db = "it_prop_lost";
    shop(server, db).await?;
    let store = scratch()?;
    Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    let (path, manifest) = (find(store.path(), "toc.dat")?, find(store.path(), "manifest.json")?);
    // The same bytes, but the statement is one that sets nothing: only what comes back can tell.
    let toc = fs::read(&path)?;
    let (old, new): (&[u8], &[u8]) = (b"SET \"app.jwt_secret\" TO ", b"SET \"app.jwt_secret\" TO ");
    let at = toc.windows(old.len()).position(|w| w == old).context("no such setting")?;
    let mut changed = toc.clone();
    changed[at..at + new.len()].copy_from_slice(new);
    let from = changed[..at].windows(14).rposition(|w| w == b"ALTER DATABASE").context("no statement")?;
    changed[from..from + 14].copy_from_slice(b"--TER DATABASE");
    fs::write(&path, &changed)?;
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&manifest)?)?;
    for file in value["files"].as_array_mut().context("files")? {
        if file["path"] == "archive/toc.dat" {
            file["sha256"] = serde_json::json!(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&changed)));
        }
    }
    fs::write(&manifest, sealed(&value)?)?;
    let ended = run(server, &["verify", "latest", "--database", db], store.path())?.run().await?;
    ensure!(ended.code == Some(3), "{}", ended.output());
    ensure!(ended.stdout.contains("database: ") && !ended.output().contains("hunter2"), "{}", ended.output());
    Ok(())
}
