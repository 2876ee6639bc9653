//! Rehearsals: real migrations on the proven copy, what is said of them, and that the source never sees them.

use crate::support::{
    Result, find,
    pg::{self, Server},
    run::{Savepoint, processes_of},
    scratch,
};
use anyhow::{Context, ensure};
use rustix::process::Signal;
use serde_json::Value;
use std::{fs, path::Path};

const MAJOR: u32 = 17;

/// Orders of a role that is no superuser, as an application has them.
const SHOP: &str = "CREATE ROLE {owner} LOGIN; ALTER DATABASE {db} OWNER TO {owner}; ALTER SCHEMA public OWNER TO {owner}; \
    SET ROLE {owner}; \
    CREATE TABLE orders (id int PRIMARY KEY, total int NOT NULL, age int, note text); \
    INSERT INTO orders SELECT g, g * 10, 1, 'note ' || g FROM generate_series(1, 1000) g; \
    CREATE TABLE items (id int PRIMARY KEY, order_id int, qty int); \
    INSERT INTO items SELECT g, g, 1 FROM generate_series(1, 500) g; \
    CREATE TABLE old (id int); INSERT INTO old VALUES (1); \
    CREATE TABLE still (id int); INSERT INTO still VALUES (1); \
    CREATE INDEX orders_note ON orders (note); \
    CREATE MATERIALIZED VIEW sums AS SELECT sum(total) AS total FROM orders WITH NO DATA";

/// A database of a role of its own.
async fn shop(server: &Server, db: &str) -> Result<String> {
    let owner = format!("{db}_owner");
    server.create_db(db, "").await?;
    server.psql(db, &SHOP.replace("{owner}", &owner).replace("{db}", db)).await?;
    Ok(owner)
}

/// A backup as the application's own role, with a migration in SQL that psql runs.
fn rehearsing(server: &Server, db: &str, store: &Path, command: &str) -> Result<Savepoint> {
    let url = server.url_at(server.port, &format!("{db}_owner"), db);
    Ok(Savepoint::backup(&url, &server.bin)?
        .to_folder(store)
        .env("LD_LIBRARY_PATH", &server.bin.join("../lib").display().to_string())
        .args(["--rehearse", command]))
}

/// A line for the shell that runs this SQL by psql, as a migration's own program would: by the variable alone.
fn by_psql(server: &Server, sql: &str) -> String {
    format!("{}/psql -X -v ON_ERROR_STOP=1 -d \"$DATABASE_URL\" -c '{sql}'", server.bin.display())
}

/// What the source holds, so that a change of it would show.
async fn source(server: &Server, db: &str) -> Result<String> {
    let rows = server.psql(db, "SELECT (SELECT count(*) FROM orders), (SELECT sum(total) FROM orders)").await?;
    let columns = "SELECT string_agg(attrelid::regclass || '.' || attname || ' ' || atttypid::regtype, ',' ORDER BY 1) \
        FROM (SELECT * FROM pg_attribute WHERE attrelid IN ('orders'::regclass, 'items'::regclass) AND attnum > 0 \
        ORDER BY attrelid, attnum) a";
    Ok(format!("{rows}\n{}", server.psql(db, columns).await?))
}

/// The table of this name among those that changed.
fn table<'a>(rehearsal: &'a Value, name: &str) -> Result<&'a Value> {
    let all = rehearsal["tables"].as_array().context("tables")?;
    all.iter().find(|t| t["table"] == name).with_context(|| format!("{name} is not told: {rehearsal:#}"))
}

#[tokio::test]
async fn everything_that_a_migration_does_is_told_and_the_source_is_not_touched() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let db = "it_rehearse";
    shop(server, db).await?;
    let before = source(server, db).await?;
    let sql = "BEGIN; ALTER TABLE orders ADD COLUMN city text; SELECT pg_sleep(0.4); COMMIT; \
        ALTER TABLE items ALTER COLUMN qty TYPE bigint; \
        ALTER TABLE orders DROP COLUMN age; \
        ALTER TABLE items RENAME COLUMN order_id TO of_order; \
        DELETE FROM orders WHERE id > 900; \
        DROP TABLE old; ALTER TABLE still RENAME TO kept; \
        CREATE TABLE new (id int); INSERT INTO new VALUES (1), (2); \
        DROP INDEX orders_note; CREATE INDEX orders_total ON orders (total); \
        ALTER TABLE items ADD CONSTRAINT ordered FOREIGN KEY (of_order) REFERENCES orders (id) NOT VALID; \
        REFRESH MATERIALIZED VIEW sums; SELECT current_user, current_database()";
    let run = rehearsing(server, db, store.path(), &by_psql(server, sql))?.args(["--json"]);
    let ended = run.run().await?.expect(0)?;
    ended.left_nothing()?;
    let report = ended.json()?;
    let found = &report["rehearsal"];
    ensure!(report["outcome"] == "proven" && found["ended"]["exit"] == 0, "{report:#}");
    ensure!(found["problems"] == serde_json::json!([]), "{found:#}");
    ensure!(found["role"] == format!("{db}_owner").as_str(), "{found:#}");
    let output = found["output"].to_string();
    ensure!(output.contains(&format!("{db}_owner | {db}")), "not as the source's own: {output}");

    let orders = table(found, "public.orders")?;
    ensure!((&orders["rows_before"], &orders["rows_after"]) == (&1000.into(), &900.into()), "{orders:#}");
    ensure!(orders["columns_dropped"] == serde_json::json!(["age"]) && orders["fate"] == "kept", "{orders:#}");
    let items = table(found, "public.items")?;
    ensure!(items["fate"] == "rewritten" && items["columns_dropped"] == serde_json::json!([]), "{items:#}");
    ensure!(items["bytes_before"].as_u64() > Some(8000), "{items:#}");
    ensure!(table(found, "public.old")?["fate"] == "dropped");
    ensure!(table(found, "public.kept")?["renamed_from"] == "public.still");
    ensure!(table(found, "public.new")?["rows_after"] == 2);
    let locks = found["locks"].as_array().context("locks")?;
    let held = locks.iter().find(|l| l["table"] == "public.orders" && l["mode"] == "ACCESS EXCLUSIVE");
    let held = held.with_context(|| format!("{locks:#?}"))?;
    ensure!(held["seconds"].as_f64() >= Some(0.3) && held["seconds"].as_f64() < Some(20.0), "{held:#}");
    let schema = found["schema"].to_string();
    for change in ["index public.orders_note", "index public.orders_total", "table public.new", "table public.old"] {
        ensure!(schema.contains(change), "{change}: {schema}");
    }
    ensure!(schema.contains("-    qty integer") && schema.contains("+    qty bigint"), "{schema}");
    ensure!(
        found["unfinished"].to_string().contains("constraint ordered on public.items is not validated"),
        "{found:#}"
    );
    ensure!(found["wal_bytes"].as_u64() > Some(10_000), "{found:#}");
    ensure!(source(server, db).await? == before, "the source was touched");

    // A stored backup is as good; what people see.
    let bin = server.bin.display().to_string();
    let verify = Savepoint::new(["verify", "latest", "--database", db, "--pg-bin-dir", &bin])?.to_folder(store.path());
    let verify = verify.env("LD_LIBRARY_PATH", &server.bin.join("../lib").display().to_string());
    let ended = verify.args(["--rehearse", &by_psql(server, sql)]).run().await?.expect(0)?;
    ended.left_nothing()?;
    for said in [
        "rehearsal passed",
        "public.old: dropped, with 1 row",
        "public.kept (was public.still): renamed",
        "public.orders: 900 rows, was 1,000 (−10.0 %); column age dropped",
        "removed index public.orders_note",
    ] {
        ensure!(ended.stdout.contains(said), "{said:?} is not said\n{}", ended.output());
    }
    Ok(())
}

#[tokio::test]
async fn what_passes_a_limit_fails_the_step_and_the_backup_stays() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let db = "it_rehearse_limits";
    shop(server, db).await?;
    let before = source(server, db).await?;
    let checks = store.path().join("checks.sql");
    fs::write(&checks, "SELECT id FROM orders WHERE total < 0; SELECT count(*) FROM items HAVING count(*) < 500;")?;
    let checks = checks.display().to_string();
    for (options, sql, said) in [
        (
            &["--rehearse-max-lock", "1s"][..],
            "BEGIN; LOCK TABLE orders IN SHARE MODE; SELECT pg_sleep(1.2); COMMIT",
            "public.orders is locked (SHARE) for",
        ),
        (
            &["--rehearse-max-drop", "10"],
            "DELETE FROM items WHERE id <= 60",
            "public.items lost 12.0 % of its 500 rows",
        ),
        (&[], "TRUNCATE items", "public.items lost 100.0 %"),
        (
            &["--rehearse-forbid", "drop-table"],
            "DROP TABLE items; CREATE TABLE items (id int)",
            "public.items is dropped, and another one of its name has fewer rows",
        ),
        (
            &["--rehearse-max-lock", "200ms"],
            "BEGIN; LOCK TABLE old; SELECT pg_sleep(0.4); COMMIT",
            "public.old is locked",
        ),
        (
            &["--rehearse-forbid", "drop-table"],
            "DROP TABLE old",
            "public.old is dropped: rehearse-forbid has drop-table",
        ),
        (&["--rehearse-forbid", "drop-column"], "ALTER TABLE orders DROP COLUMN age", "public.orders loses age"),
        (
            &["--rehearse-forbid", "rewrite"],
            "CREATE TABLE other AS TABLE items; DROP TABLE items; ALTER TABLE other RENAME TO items",
            "is written anew: rehearse-forbid has rewrite",
        ),
        (
            &["--rehearse-forbid", "rewrite:8kB"],
            "ALTER TABLE orders ALTER COLUMN age TYPE bigint",
            "is written anew: rehearse-forbid has rewrite:",
        ),
        (&["--rehearse-check-sql", &checks], "UPDATE orders SET total = -1 WHERE id = 7", "check failed: line 1"),
        (
            &["--rehearse-forbid", "drop-table"],
            "ALTER TABLE items RENAME TO aside; CREATE TABLE items (id int)",
            "public.items is dropped, and another one of its name has fewer rows",
        ),
        (&[], "SELECT 1/0", "the command ended with exit code 1"),
        (&["--rehearse-timeout", "1s"], "SELECT pg_sleep(60)", "the command was ended after 1.0 s"),
        (&["--rehearse-role", "nobody_here"], "SELECT 1", "the backup names no role \"nobody_here\""),
    ] {
        let run = rehearsing(server, db, store.path(), &by_psql(server, sql))?.args(options.to_vec());
        let ended = run.run().await?.expect(4)?;
        ensure!(ended.stdout.contains("stored and proven; rehearsal failed"), "{sql}\n{}", ended.output());
        ensure!(ended.output().contains(said), "{said:?} is not said\n{}", ended.output());
        ensure!(
            ended.stderr.contains("the backup is stored and proven, but the rehearsal failed"),
            "{}",
            ended.output()
        );
        ended.left_nothing()?;
    }
    // Within its limits it passes.
    let allowed =
        ["--rehearse-forbid", "rewrite:1GB,drop-table", "--rehearse-max-drop", "50", "--rehearse-max-lock", "30s"];
    let sql = "ALTER TABLE orders ALTER COLUMN age TYPE bigint; DELETE FROM items WHERE id <= 60";
    rehearsing(server, db, store.path(), &by_psql(server, sql))?.args(allowed).run().await?.expect(0)?;
    ensure!(source(server, db).await? == before, "the source was touched");
    Ok(())
}

/// The command gets the copy's address under every name by which it may look for the source's, and no key of ours; the door is open on this
/// machine only, and to nobody without the password.
#[tokio::test]
async fn the_command_finds_the_copy_and_nothing_else() -> Result {
    let (server, store, work) = (pg::server(MAJOR).await?, scratch()?, scratch()?);
    let db = "it_rehearse_door";
    let owner = shop(server, db).await?;
    let seen = work.path().join("env");
    let psql = format!("{}/psql -X", server.bin.display());
    let command = format!(
        "env > {seen}; \
         echo \"as superuser: $(PGPASSWORD=none {psql} -U postgres -c 'SELECT 1' 2>&1)\"; \
         echo \"with none: $(PGPASSWORD= {psql} -w -c 'SELECT 1' 2>&1)\"; \
         echo \"itself: $({psql} -Atc 'SELECT current_user')\"; \
         echo \"listens: $(grep -il \" $(printf '0100007F:%04X' \"$PGPORT\") \" /proc/net/tcp)\"",
        seen = seen.display()
    );
    let run = rehearsing(server, db, store.path(), &command)?
        .env("DATABASE_URL", &server.url(db))
        .env("DIRECT_URL", &server.url(db))
        .env("OTHER", "kept")
        .env("AWS_SECRET_ACCESS_KEY", "marked")
        .env("SAVEPOINT_SLACK_WEBHOOK_URL", "")
        .args(["--json"]);
    let report = run.run().await?.expect(0)?.json()?;
    let env = fs::read_to_string(&seen)?;
    ensure!(!env.contains(&format!(":{}/", server.port)) && !env.contains("marked"), "{env}");
    ensure!(env.lines().any(|line| line == "OTHER=kept"), "{env}");
    let value = |name: &str| {
        env.lines()
            .find_map(|line| line.strip_prefix(&format!("{name}=")))
            .map(str::to_owned)
            .with_context(|| env.clone())
    };
    ensure!(value("DATABASE_URL")? == value("DIRECT_URL")? && value("PGUSER")? == owner, "{env}");
    let output: Vec<&str> =
        report["rehearsal"]["output"].as_array().context("output")?.iter().filter_map(Value::as_str).collect();
    let output = output.join("\n");
    ensure!(output.contains(&format!("itself: {owner}")), "{output}");
    ensure!(output.contains("listens: /proc/net/tcp"), "{output}");
    for (line, refused) in
        [("as superuser: ", "password authentication failed"), ("with none: ", "no password supplied")]
    {
        let said = output.split(line).nth(1).context("a line")?;
        ensure!(said.lines().take(2).any(|l| l.contains(refused)), "{output}");
    }
    let password = value("PGPASSWORD")?;
    ensure!(!report.to_string().contains(&password), "the copy's password is told");
    Ok(())
}

/// Who ends the session that watches the locks is not taken for one that holds none.
#[tokio::test]
async fn a_watch_that_was_ended_is_told() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let db = "it_rehearse_watch";
    server.create_db(db, "").await?;
    server.psql(db, "CREATE TABLE orders (id int)").await?;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
    let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store.path());
    let run = run.env("LD_LIBRARY_PATH", &server.bin.join("../lib").display().to_string());
    let ended = run.args(["--rehearse", &by_psql(server, sql)]).run().await?.expect(4)?;
    ensure!(ended.output().contains("the locks were not watched to the end"), "{}", ended.output());
    ended.left_nothing()
}

/// psql goes on behind an error, and says that all is well.
#[tokio::test]
async fn what_the_database_refused_is_told_also_where_the_command_went_on() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let db = "it_rehearse_refused";
    shop(server, db).await?;
    let command = by_psql(server, "SELECT no_such_column FROM orders")
        .replace("-v ON_ERROR_STOP=1", "")
        .replace("-c", "-f /dev/null -c");
    let command = format!("{command} || true");
    let ended = rehearsing(server, db, store.path(), &command)?.run().await?.expect(0)?;
    for said in ["what the database refused:", "column \"no_such_column\" does not exist"] {
        ensure!(ended.stdout.contains(said), "{said:?} is not said\n{}", ended.output());
    }
    Ok(())
}

#[tokio::test]
async fn a_rehearsal_that_is_broken_off_leaves_a_proven_backup_and_nothing_that_runs() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let db = "it_rehearse_broken";
    shop(server, db).await?;
    // One that starts others, and does not go when it is asked to.
    let command = "trap \"\" TERM; sleep 4711 & sleep 4712";
    let run = rehearsing(server, db, store.path(), command)?;
    let scratch = run.scratch();
    let ended = run.when_it_says("rehearse begins", async |run| {
        run.descendant("sleep 4712").await?;
        run.signal(Signal::TERM)
    });
    let ended = ended.await?.expect(4)?;
    ensure!(ended.output().contains("the rehearsal was broken off"), "{}", ended.output());
    ensure!(ended.stdout.contains("stored and proven"), "{}", ended.output());
    ended.left_nothing()?;
    let left = crate::support::run::processes();
    let left: Vec<_> =
        left.iter().filter(|p| !p.zombie && ["sleep 4711", "sleep 4712"].contains(&p.cmdline.trim())).collect();
    ensure!(left.is_empty() && processes_of(scratch.path()).is_empty(), "{left:?}");
    let record = fs::read_dir(find(store.path(), "proofs")?)?.next().context("a record")??;
    let proof: Value = serde_json::from_slice(&fs::read(record.path())?)?;
    ensure!(proof["passed"] == true, "{proof:#}");
    Ok(())
}

/// Migrations of real frameworks: a good one passes, one that the database refuses fails, and both find the copy by themselves.
#[tokio::test]
async fn django_and_alembic() -> Result {
    let server = pg::server(MAJOR).await?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    for (name, good, bad, sees) in [
        (
            "django",
            "python3 manage.py migrate --noinput",
            "BROKEN=1 python3 manage.py migrate --noinput",
            "public.shop_order",
        ),
        ("alembic", "alembic upgrade head", "alembic -x broken=1 upgrade head", "public.invoice"),
    ] {
        let store = scratch()?;
        let db = format!("it_rehearse_{name}");
        shop(server, &db).await?;
        let work = scratch()?;
        crate::support::copy(&fixtures.join(name), work.path())?;
        let line = |command: &str| format!("cd {} && {command}", work.path().display());
        let run = rehearsing(server, &db, store.path(), &line(good))?.args(["--json"]);
        let report = run.run().await?.expect(0)?.json()?;
        ensure!(table(&report["rehearsal"], sees)?["fate"] == "added", "{report:#}");
        ensure!(
            table(&report["rehearsal"], "public.orders")?["columns_dropped"] == serde_json::json!(["age"]),
            "{report:#}"
        );
        let ended = rehearsing(server, &db, store.path(), &line(bad))?.run().await?.expect(4)?;
        ensure!(ended.output().contains("the command ended with exit code 1"), "{}", ended.output());
        ensure!(ended.output().contains("no_such_table"), "its own words are not shown\n{}", ended.output());
        ensure!(
            server.psql(&db, &format!("SELECT to_regclass('{sees}') IS NULL")).await? == "t",
            "the source was touched"
        );
    }
    Ok(())
}
