//! The role that `setup-role` prints: the real psql runs its SQL, and then a backup is taken and proven as exactly that role.

use crate::support::{
    Result,
    pg::{self, Server},
    run::{Ended, Savepoint},
    scratch,
};
use anyhow::{Context, ensure};

/// Schemas with odd names, sequences, large objects, row-level security, a foreign server with a user mapping, a subscription, limits of the
/// database that would cut a dump off, and a database that not everybody may enter.
fn everything(db: &str, owner: &str) -> String {
    format!(
        r#"CREATE SCHEMA app AUTHORIZATION {owner}; CREATE SCHEMA "Odd ""one";
        CREATE TABLE public.t (id serial PRIMARY KEY, v text); INSERT INTO t (v) SELECT 'v' || g FROM generate_series(1, 500) g;
        CREATE TABLE app.u (id int GENERATED ALWAYS AS IDENTITY, v text); INSERT INTO app.u (v) VALUES ('a'), ('b');
        ALTER TABLE app.u OWNER TO {owner};
        CREATE SEQUENCE "Odd ""one".s; SELECT nextval('"Odd ""one".s');
        CREATE TABLE "Odd ""one".p (id int) PARTITION BY RANGE (id);
        CREATE TABLE "Odd ""one".p1 PARTITION OF "Odd ""one".p FOR VALUES FROM (0) TO (10); INSERT INTO "Odd ""one".p VALUES (1), (2);
        CREATE VIEW app.seen AS SELECT v FROM t; CREATE MATERIALIZED VIEW app.kept AS SELECT count(*) FROM t;
        SELECT lo_from_bytea(4711, 'large'), lo_from_bytea(4712, 'larger');
        CREATE EXTENSION postgres_fdw; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'far.test');
        CREATE USER MAPPING FOR {owner} SERVER far OPTIONS (user 'x', password 'Mapped');
        CREATE SUBSCRIPTION {owner}_sub CONNECTION 'host=far.test password=Subscribed' PUBLICATION p
          WITH (connect = false, slot_name = NONE);
        ALTER DATABASE {db} SET statement_timeout = '5s'; ALTER DATABASE {db} SET idle_session_timeout = '7s';
        REVOKE CONNECT ON DATABASE {db} FROM PUBLIC"#
    )
}

const ROW_SECURITY: &str =
    "CREATE TABLE app.forced AS SELECT generate_series(1, 20) AS id; ALTER TABLE app.forced ENABLE ROW LEVEL SECURITY;
    ALTER TABLE app.forced FORCE ROW LEVEL SECURITY; CREATE POLICY odd ON app.forced USING (id % 2 = 1);
    CREATE TABLE app.enabled AS SELECT generate_series(1, 20) AS id; ALTER TABLE app.enabled ENABLE ROW LEVEL SECURITY";

async fn printed(url: &str, args: &[&str]) -> Result<Ended> {
    let run = Savepoint::new(["setup-role"])?.args(args.to_vec()).env("SAVEPOINT_DATABASE_URL", url);
    run.run().await?.expect(0)
}

async fn backup(server: &Server, role: &str, db: &str, args: &[&str]) -> Result<(Ended, tempfile::TempDir)> {
    let store = scratch()?;
    let url = server.url_at(server.port, role, db);
    let run = Savepoint::backup(&url, &server.bin)?.to_folder(store.path()).args(args.to_vec());
    Ok((run.run().await?, store))
}

/// Runs the SQL as `psql` does from a pipe.
async fn run(server: &Server, url: &str, sql: &str) -> Result {
    pg::psql(&server.bin, url, sql).await.with_context(|| sql.to_owned()).map(drop)
}

async fn as_superuser(major: u32) -> Result {
    let server = pg::server(major).await?;
    let (db, owner, role) = ("it_setup", "it_setup_owner", "it setup \"role\"");
    server.create_db(db, "").await?;
    server.psql(db, &format!("CREATE ROLE {owner}")).await?;
    server.psql(db, &everything(db, owner)).await?;
    server.psql(db, ROW_SECURITY).await?;
    let url = server.url(db);
    let sql = printed(&url, &["--role", role]).await?;
    ensure!(sql.stderr.is_empty(), "a superuser may give everything\n{}", sql.output());
    let json = printed(&url, &["--role", role, "--json"]).await?.json()?;
    ensure!(json["sql"] == sql.stdout.as_str() && json["role"] == role, "{json:#}");
    let there = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'it setup%'";
    ensure!(server.psql(db, there).await? == "0", "setup-role changed something");
    ensure!(!sql.stdout.contains("Mapped") && !sql.stdout.contains("Subscribed"), "{}", sql.stdout);

    // Without the line for row-level security, the backup is refused.
    let bypass = "ALTER ROLE \"it setup \"\"role\"\"\" BYPASSRLS;\n";
    ensure!(sql.stdout.contains(bypass), "{}", sql.stdout);
    run(server, &url, &sql.stdout.replace(bypass, "")).await?;
    let encoded = pg::encode(role);
    let (refused, _) = backup(server, &encoded, db, &[]).await?;
    let refused = refused.expect(1)?;
    let hidden = "row-level security would hide rows of app.enabled, app.forced";
    ensure!(refused.stderr.contains(hidden), "{}", refused.output());

    // The whole, which may be run again.
    run(server, &url, &sql.stdout).await?;
    run(server, &url, &sql.stdout).await?;
    let (proven, store) = backup(server, &encoded, db, &[]).await?;
    let proven = proven.expect(0)?;
    ensure!(
        proven.stdout.contains("passed, all equal") && proven.stdout.contains("2 large objects"),
        "{}",
        proven.output()
    );
    ensure!(
        proven.stdout.contains(&format!("subscriptions ({owner}_sub): pg_dump takes them for a superuser alone")),
        "{}",
        proven.output()
    );
    ensure!(
        proven.stderr.contains(&format!("is not shown are not in the archive: {owner} on far")),
        "{}",
        proven.output()
    );
    crate::support::find(store.path(), "globals.sql").context("the roles of the server")?;

    // It reads and nothing else, whatever the database's limits are.
    let role_url = server.url_at(server.port, &encoded, db);
    let shown = pg::psql(
        &server.bin,
        &role_url,
        "SHOW statement_timeout; SHOW idle_session_timeout; SHOW transaction_read_only",
    )
    .await?;
    ensure!(shown == b"0\n0\non\n", "{}", String::from_utf8_lossy(&shown));
    for write in [
        "INSERT INTO t (v) VALUES ('x')",
        "CREATE TABLE app.x ()",
        "SELECT lo_unlink(4711)",
        "SELECT nextval('t_id_seq')",
    ] {
        let write = format!("SET default_transaction_read_only = off; {write}");
        ensure!(pg::psql(&server.bin, &role_url, write.clone()).await.is_err(), "it may: {write}");
    }
    Ok(())
}

#[tokio::test]
async fn the_role_of_a_superuser_14() -> Result {
    as_superuser(14).await
}

#[tokio::test]
async fn the_role_of_a_superuser_17() -> Result {
    as_superuser(17).await
}

#[tokio::test]
async fn the_role_of_a_superuser_18() -> Result {
    as_superuser(18).await
}

/// Whoever may make roles and owns the database, as on a managed server: no `pg_read_all_data` to give (from 16 on), no BYPASSRLS.
async fn as_owner(major: u32) -> Result {
    let server = pg::server(major).await?;
    let (db, admin, role) = ("it_setup_managed", "it_setup_admin", "it_setup_managed");
    server
        .psql("postgres", &format!("CREATE ROLE {admin} LOGIN CREATEROLE; CREATE DATABASE {db} OWNER {admin}"))
        .await?;
    server.psql(db, "CREATE TABLE public.elsewhere (id int)").await?;
    let url = server.url_at(server.port, admin, db);
    let make = r#"CREATE SCHEMA app; CREATE TABLE app.t (id serial, v text); INSERT INTO app.t (v) VALUES ('a'); CREATE SCHEMA "Empty";
        CREATE VIEW app.seen AS SELECT v FROM app.t; SELECT lo_from_bytea(0, 'mine')"#;
    run(server, &url, make).await?;
    let sql = printed(&url, &["--role", role]).await?;
    run(server, &url, &sql.stdout).await?;
    if major < 16 {
        ensure!(sql.stdout.contains("GRANT pg_read_all_data TO"), "{}", sql.stdout);
        backup(server, role, db, &[]).await?.0.expect(0)?;
        return Ok(());
    }
    for line in [
        "GRANT SELECT ON ALL TABLES IN SCHEMA \"app\"",
        "GRANT SELECT ON ALL SEQUENCES IN SCHEMA \"app\"",
        "ALTER DEFAULT PRIVILEGES FOR ROLE",
    ] {
        ensure!(sql.stdout.contains(line), "not {line:?}\n{}", sql.stdout);
    }
    // What it cannot give is told, and is what the backup lacks.
    let lacking = "1 table in schema public: postgres has to grant SELECT";
    ensure!(sql.stderr.contains(lacking) && sql.stdout.contains(&format!("-- LACKING: {lacking}")), "{}", sql.output());
    let refused = backup(server, role, db, &[]).await?.0.expect(1)?;
    ensure!(refused.stderr.contains("may not read public.elsewhere"), "{}", refused.output());
    let theirs =
        sql.stdout.lines().find_map(|l| l.strip_prefix("--   GRANT SELECT ON TABLE")).context("their statement")?;
    server.psql(db, &format!("GRANT SELECT ON TABLE{theirs}")).await?;
    backup(server, role, db, &[]).await?.0.expect(0)?;
    // What comes later is covered.
    let later = if major >= 18 { "; SELECT lo_from_bytea(0, 'later')" } else { "" };
    run(server, &url, &format!("CREATE TABLE app.later (id serial){later}")).await?;
    let ended = backup(server, role, db, &[]).await?.0.expect(0)?;
    ensure!(ended.stdout.contains("3 tables"), "{}", ended.output());
    // Nor may it give BYPASSRLS.
    run(server, &url, "ALTER TABLE app.later ENABLE ROW LEVEL SECURITY").await?;
    let sql = printed(&url, &["--role", role]).await?;
    ensure!(sql.stderr.contains("may not give BYPASSRLS"), "{}", sql.output());
    run(server, &url, &sql.stdout).await?;
    let part = ["--exclude-tables", "app.later"];
    ensure!(printed(&url, &part).await?.stdout.contains("BYPASSRLS is not needed"), "the filter counts");
    backup(server, role, db, &part).await?.0.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn the_role_of_an_owner_14() -> Result {
    as_owner(14).await
}

#[tokio::test]
async fn the_role_of_an_owner_17() -> Result {
    as_owner(17).await
}

#[tokio::test]
async fn the_role_of_an_owner_18() -> Result {
    as_owner(18).await
}

/// What cannot be is told with its cure, and nothing of it goes to psql.
#[tokio::test]
async fn wrong_options_and_unreachable_servers() -> Result {
    let run = async |args: &[&str], url: &str| {
        let run = Savepoint::new(["setup-role"])?.args(args.to_vec()).env("SAVEPOINT_DATABASE_URL", url);
        run.run().await
    };
    let ended = run(&["--role", "pg_backup"], "postgresql://u@h/d").await?.expect(2)?;
    ensure!(ended.stderr.contains("option role") && ended.stdout.is_empty(), "{}", ended.output());
    let ended = run(&[], "postgresql://u@127.0.0.1:1/d").await?.expect(1)?;
    ensure!(ended.stderr.contains("hint: ") && !ended.stdout.contains("ROLE"), "{}", ended.output());
    Ok(())
}
