//! A database behind a migration, held against the backup from before it: each loss is made for real, and named.

use crate::support::{
    Result,
    pg::{self, Server},
    run::Savepoint,
    scratch,
};
use anyhow::{Context, ensure};
use std::{fs, path::Path};

const MAJOR: u32 = 17;

const SHOP: &str = "CREATE TABLE orders (id serial PRIMARY KEY, total int NOT NULL, age int); \
    INSERT INTO orders (total, age) SELECT g, 1 FROM generate_series(1, 1000) g; \
    CREATE TABLE items (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id int); \
    INSERT INTO items (order_id) SELECT g FROM generate_series(1, 500) g; \
    CREATE TABLE sessions (id int); INSERT INTO sessions SELECT generate_series(1, 10); \
    CREATE TABLE empty (id int)";

/// A database, and a proven backup of it.
async fn backed_up(server: &Server, db: &str, store: &Path) -> Result {
    server.create_db(db, "").await?;
    server.psql(db, SHOP).await?;
    Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store).run().await?.expect(0)?;
    Ok(())
}

fn validate(server: &Server, db: &str, store: &Path) -> Result<Savepoint> {
    Ok(Savepoint::new(["validate", "latest"])?.to_folder(store).env("SAVEPOINT_DATABASE_URL", &server.url(db)))
}

#[tokio::test]
async fn each_loss_is_named_and_what_is_allowed_passes() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let template = "it_validate";
    backed_up(server, template, store.path()).await?;
    let checks = store.path().join("checks.sql");
    fs::write(&checks, "SELECT id FROM orders WHERE total < 0;")?;
    let checks = checks.display().to_string();
    // What is no question is not run, and what a question does besides is refused.
    let file = |name: &str, sql: &str| -> Result<String> {
        let path = store.path().join(name);
        fs::write(&path, sql)?;
        Ok(path.display().to_string())
    };
    let writes = file("writes.sql", "DELETE FROM orders; ROLLBACK; SET default_transaction_read_only = off;")?;
    let hidden = file("hidden.sql", "WITH gone AS (DELETE FROM orders RETURNING id) SELECT id FROM gone WHERE false;")?;
    for (n, (sql, options, code, said)) in [
        // What a migration may do.
        (
            "ALTER TABLE orders ADD COLUMN city text; CREATE TABLE new (id int); DELETE FROM orders WHERE id <= 400",
            &[][..],
            0,
            "public.orders: 600 rows, was 1,000 (−40.0 %)",
        ),
        ("ALTER TABLE orders DROP COLUMN age; INSERT INTO empty VALUES (1)", &[], 0, "column age dropped"),
        (
            "DELETE FROM orders WHERE id <= 400",
            &["--max-drop", "30"],
            3,
            "public.orders has 600 rows, and had 1,000: 40.0 % are gone",
        ),
        ("TRUNCATE items", &["--max-drop", "100"], 3, "table public.items is empty, and had 500 rows"),
        ("DROP TABLE items", &["--max-drop", "100"], 3, "table public.items is gone, with 500 rows"),
        (
            "DROP TABLE sessions; TRUNCATE items",
            &["--allow-loss", "public.sess*,public.items"],
            0,
            "public.sessions: dropped, with 10 rows",
        ),
        ("ALTER TABLE items RENAME TO things", &[], 0, "public.things (was public.items)"),
        (
            "SELECT setval('orders_id_seq', 990)",
            &[],
            3,
            "sequence public.orders_id_seq gives 991 next, and public.orders.id goes to 1000",
        ),
        ("SELECT setval('orders_id_seq', 1000)", &[], 0, "nothing is missing"),
        ("ALTER TABLE items ALTER COLUMN id RESTART WITH 500", &[], 3, "sequence public.items_id_seq gives 500 next"),
        (
            "ALTER TABLE items ADD CONSTRAINT odd CHECK (order_id < 400) NOT VALID",
            &[],
            0,
            "constraint odd on public.items is not validated",
        ),
        ("UPDATE orders SET total = -1 WHERE id = 7", &["--check-sql", &checks], 3, "check failed: line 1"),
        ("SELECT 1", &["--check-sql", &checks], 0, "1 passed, 0 failed"),
        ("SELECT 1", &["--check-sql", &writes], 3, "it is no query, and the database is in use"),
        ("SELECT 1", &["--check-sql", &hidden], 3, "in a read-only transaction"),
    ]
    .into_iter()
    .enumerate()
    {
        let db = format!("it_validate_{n}");
        server.psql("postgres", &format!("CREATE DATABASE {db} TEMPLATE {template}")).await?;
        server.psql(&db, sql).await?;
        let ended =
            validate(server, &db, store.path())?.args(["--database", template]).args(options.to_vec()).run().await?;
        let ended = ended.expect(code).with_context(|| sql)?;
        ensure!(ended.stdout.contains(said), "{said:?} is not said\n{}", ended.output());
        if options.iter().any(|o| *o == writes || *o == hidden) {
            ensure!(server.psql(&db, "SELECT count(*) FROM orders").await? == "1000", "a check wrote");
        }
        ensure!((code == 0) == ended.stdout.contains("nothing is missing"), "{}", ended.output());
        server.drop_db(&db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_index_that_could_not_be_built_is_named() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let db = "it_validate_index";
    backed_up(server, db, store.path()).await?;
    ensure!(server.psql(db, "CREATE UNIQUE INDEX CONCURRENTLY orders_age ON orders (age)").await.is_err());
    let report = validate(server, db, store.path())?.args(["--json"]).run().await?.expect(3)?.json()?;
    ensure!(report["validated"] == false, "{report:#}");
    ensure!(report["problems"].to_string().contains("index public.orders_age is invalid"), "{report:#}");
    Ok(())
}

/// A restored database has other OIDs; one that was never backed up has no backup.
#[tokio::test]
async fn a_database_that_was_restored_is_as_good() -> Result {
    let (server, store) = (pg::server(MAJOR).await?, scratch()?);
    let db = "it_validate_swap";
    backed_up(server, db, store.path()).await?;
    let bin = server.bin.display().to_string();
    server.psql(db, "DROP TABLE items").await?;
    validate(server, db, store.path())?.run().await?.expect(3)?;
    let restore = Savepoint::new(["restore", "latest", "--swap", "--pg-bin-dir", &bin])?.to_folder(store.path());
    restore.env("SAVEPOINT_TO", &server.url(db)).run().await?.expect(0)?;
    let ended = validate(server, db, store.path())?.run().await?.expect(0)?;
    ensure!(ended.stdout.contains("1,510, were 1,510"), "{}", ended.output());
    let other = validate(server, "postgres", store.path())?.run().await?;
    other.refused(1, &["error in looking at the database"])
}
