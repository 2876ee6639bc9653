//! Many tables: the few patterns that name them to pg_dump match them and nothing else. More than we take over: pg_dump writes the
//! rest, and the proof covers both.

use crate::support::{Result, find, pg, run::Savepoint, s3, scratch};
use anyhow::{Context, ensure};
use savepoint::{
    archive::toc::{Toc, lossy},
    dump::exclude,
};
use std::{collections::BTreeSet, path::Path};

/// Schemas of the first test; the first two hold the same plain tables.
const SCHEMAS: [&str; 6] = ["c1", "c2", "c10", "App", "odd.\"s", "\u{fc}"];

/// Plain names, some the beginnings of others, and names that mean something else as a regular expression.
const NAMES: [&str; 31] = [
    "a",
    "a_",
    "ab",
    "abc",
    "_",
    "__",
    "0",
    "1a",
    "A",
    "Ab",
    "aB",
    "AB",
    "a$",
    "$a",
    "a$1",
    "a.b",
    "a|b",
    "a*",
    "a?",
    "a+",
    "(a)",
    "a(|b)",
    "[a]",
    "a{2}",
    "^a",
    "a\\",
    "a\"b",
    "a b",
    "\u{e9}",
    "\u{c9}t\u{e9}",
    "select",
];

/// What else pg_dump writes: `(description, schema, name)` of every entry that stands for data.
fn data(folder: &Path) -> Result<BTreeSet<(String, String, String)>> {
    let toc = Toc::parse(&std::fs::read(folder.join("toc.dat"))?)?;
    let entries = toc.entries.iter().filter(|e| e.kind() == "SEQUENCE SET" || e.kind().ends_with(" DATA"));
    Ok(entries.map(|e| (e.kind().to_owned(), lossy(&e.namespace), lossy(&e.tag))).collect())
}

#[tokio::test]
async fn patterns_match_their_tables_and_nothing_else() -> Result {
    for major in [14, 18] {
        let server = pg::server(major).await?;
        let db = "it_patterns";
        server.create_db(db, "").await?;
        let mut sql = String::new();
        let mut tables = BTreeSet::new();
        for (n, schema) in SCHEMAS.iter().enumerate() {
            sql.push_str(&format!("CREATE SCHEMA {};\n", pg::quote(schema)));
            for (m, name) in NAMES.iter().enumerate() {
                let full = format!("{}.{}", pg::quote(schema), pg::quote(name));
                // In some schemas every third name is that of something whose data a pattern must not take away.
                sql.push_str(&match if n < 2 { 9 } else { (n + m) % 6 } {
                    0 => format!("CREATE SEQUENCE {full};\n"),
                    1 => format!("CREATE MATERIALIZED VIEW {full} AS SELECT 1 AS x;\n"),
                    _ => {
                        tables.insert(((*schema).to_owned(), (*name).to_owned()));
                        format!("CREATE TABLE {full} (x int);\nINSERT INTO {full} VALUES (1);\n")
                    }
                });
            }
            let more = format!("{}.more", pg::quote(schema));
            sql.push_str(&format!("CREATE TABLE {more} (id serial);\n"));
            tables.insert(((*schema).to_owned(), "more".to_owned()));
        }
        server.psql(db, &sql).await?;
        let dir = scratch()?;
        server.pg_dump(db, &dir.path().join("full")).await?;
        let full = data(&dir.path().join("full"))?;
        ensure!(full.iter().filter(|e| e.0 == "TABLE DATA").count() == tables.len());
        ensure!(full.iter().any(|e| e.0 == "SEQUENCE SET") && full.iter().any(|e| e.0 == "MATERIALIZED VIEW DATA"));
        // All of them, and parts in which a name lacks its neighbours.
        for (part, of) in [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)] {
            let mine: BTreeSet<_> = tables.iter().enumerate().filter(|(n, _)| n % of == part).map(|(_, t)| t).collect();
            let raw = mine.iter().map(|(s, t)| (s.clone().into_bytes(), t.clone().into_bytes()));
            let mut args =
                vec!["-Fd".to_owned(), "-f".into(), dir.path().join(format!("{part}-{of}")).display().to_string()];
            for pattern in exclude::patterns(raw) {
                args.push(format!("--exclude-table-data={}", String::from_utf8(pattern)?));
            }
            args.extend(["-d".into(), server.url(db)]);
            server.tool("pg_dump", &args.iter().map(String::as_str).collect::<Vec<_>>()).await?;
            let left = data(&dir.path().join(format!("{part}-{of}")))?;
            let kept =
                |e: &&(String, String, String)| e.0 != "TABLE DATA" || !mine.contains(&(e.1.clone(), e.2.clone()));
            let expected: BTreeSet<_> = full.iter().filter(kept).cloned().collect();
            let differ: Vec<_> = left.symmetric_difference(&expected).collect();
            ensure!(differ.is_empty(), "{major}, part {part} of {of}: {differ:?}");
        }
        // The whole way: what is stored names the same data as pg_dump alone does.
        let store = scratch()?;
        Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
        ensure!(data(&find(store.path(), "archive")?)? == full, "{major}: the stored archive is not pg_dump's");
        server.drop_db(db).await?;
    }
    Ok(())
}

/// Tables of the second test that can only be named one by one; 2,000 of them are taken over.
const TABLES: usize = 2_060;

#[tokio::test]
async fn pg_dump_writes_what_we_do_not_take_over() -> Result {
    let server = pg::Server::start(17, "max_locks_per_transaction = 256").await?;
    server.create_db("it_many", "").await?;
    let sql = format!(
        "DO $$ BEGIN FOR i IN 1..{TABLES} LOOP EXECUTE format('CREATE TABLE \"t %s\" AS SELECT %s AS id', i, i); \
         IF i % 500 = 0 THEN COMMIT; END IF; END LOOP; END $$"
    );
    server.psql("it_many", &sql).await?;
    // pg_dump has rows of its own to write, so it must be told which ones are not.
    let own = "CREATE TYPE mood AS ENUM ('good'); CREATE TABLE moods (id mood) PARTITION BY HASH (id); \
        CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 1, REMAINDER 0)";
    server.psql("it_many", own).await?;
    let store = scratch()?;
    let ended =
        Savepoint::backup(&server.url("it_many"), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    ended.left_nothing()?;
    let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(find(store.path(), "manifest.json")?)?)?;
    let tables = manifest["tables"].as_array().context("tables")?;
    let by = |who: &str| tables.iter().filter(|t| t["taken_by"] == who).count();
    ensure!((by("streams"), by("pg-dump")) == (2_000, TABLES - 2_000 + 1), "{} and {}", by("streams"), by("pg-dump"));
    ensure!(tables.iter().all(|t| t["rows"] == i32::from(t["name"] != "moods")), "a table without its row");

    server.create_db("it_many_copy", "").await?;
    server.pg_restore("it_many_copy", &find(store.path(), "archive")?).await?;
    let sum = "SELECT sum((xpath('/row/id/text()', query_to_xml(format('SELECT id FROM %s', oid::regclass), false, true, '')))[1]::text::int) \
               FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'moods_0'";
    let (was, is) = (server.psql("it_many", sum).await?, server.psql("it_many_copy", sum).await?);
    ensure!(was == is && was == (TABLES * (TABLES + 1) / 2).to_string(), "{was} and {is}");
    Ok(())
}

/// Many large objects are a few requests: packed, proven, restored by us, and by tar and pg_restore alone.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_objects_are_packed() -> Result {
    for (major, compression) in [(15, "auto"), (17, "auto"), (18, "none")] {
        let server = pg::server(major).await?;
        let (db, copy, ours) =
            (format!("it_lobs_{major}"), format!("it_lobs_{major}_copy"), format!("it_lobs_{major}_ours"));
        server.create_db(&db, "").await?;
        let sql = "CREATE TABLE t AS SELECT 1 AS id; CREATE ROLE it_lobs; \
            SELECT lo_from_bytea(0, convert_to(repeat(md5(g::text), g % 90), 'UTF8')) FROM generate_series(1, 2500) g; \
            SELECT lo_from_bytea(0, decode(repeat(md5('large'), 200000), 'hex')); \
            DO $$ BEGIN EXECUTE (SELECT format('GRANT SELECT ON LARGE OBJECT %s TO it_lobs', min(oid)) FROM pg_largeobject_metadata); END $$";
        server.psql(&db, sql).await?;
        let sum = "SELECT count(*), md5(string_agg(oid || md5(lo_get(oid)) || coalesce(lomacl::text, ''), ',' ORDER BY oid)) FROM pg_largeobject_metadata";
        let was = server.psql(&db, sum).await?;
        let s3 = s3::s3().await?;
        let bucket = s3.bucket().await?;
        let run = |args: &[&str]| -> Result<Savepoint> {
            let run = Savepoint::new(args.to_vec())?.args(["--pg-bin-dir", &server.bin.display().to_string()]);
            Ok(run.to_s3(&s3.endpoint, &bucket, "p"))
        };
        let backup = run(&["backup", "--compression", compression])?.env("SAVEPOINT_DATABASE_URL", &server.url(&db));
        let taken = backup.run().await?.expect(0)?;
        ensure!(
            taken.stdout.contains("2,501 large objects") && taken.stdout.contains("passed, all equal"),
            "{}",
            taken.output()
        );
        taken.left_nothing()?;
        let objects = s3.list(&bucket).await?;
        ensure!(objects.len() < 20 && objects.iter().any(|o| o.key.contains("/pack-blobs-1.tar")), "{objects:#?}");
        run(&["verify", "latest"])?.run().await?.expect(0)?;
        run(&["restore", "latest", "--create", &ours])?
            .env("SAVEPOINT_TO", &server.url("postgres"))
            .run()
            .await?
            .expect(0)?;
        ensure!(server.psql(&ours, sum).await? == was, "{major}: our restore differs");

        // Without us: what is printed, with a plain S3 client in the place of the first command.
        let begin = taken.stdout.find("restore without us:\n").context("no commands")?;
        let commands: Vec<&str> =
            taken.stdout[begin..].lines().skip(1).filter(|l| l.starts_with("  ")).map(str::trim).collect();
        ensure!(commands.len() == 3 && commands[0].starts_with("aws s3 cp"), "{commands:#?}");
        let dir = scratch()?;
        let folder = objects[0].key.split("/archive/").next().context("no archive")?;
        s3.download(&bucket, folder, dir.path()).await?;
        server.create_db(&copy, "").await?;
        let mut shell = tokio::process::Command::new("bash");
        shell.args(["-ec", &commands[1..].join("\n")]).current_dir(dir.path()).env_clear();
        shell.env("TARGET", server.socket(&copy)).env("LD_LIBRARY_PATH", server.bin.join("../lib"));
        let out = shell.env("PATH", format!("{}:/usr/bin:/bin", server.bin.display())).output().await?;
        ensure!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        ensure!(server.psql(&copy, sum).await? == was, "{major}: tar and pg_restore differ");

        // One changed byte in a pack is seen by the proof, and stops a restore.
        let pack = objects.iter().find(|o| o.key.contains("/pack-blobs-1.tar")).context("no pack")?;
        let mut bytes = s3.get(&bucket, &pack.key).await?;
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        s3.put(&bucket, &pack.key, bytes).await?;
        let ended = run(&["verify", "latest"])?.run().await?.expect(3)?;
        ensure!(ended.stdout.contains("pack-blobs-1.tar"), "{}", ended.output());
        let restore = run(&["restore", "latest", "--force-unproven", "--create", "it_lobs_never"])?;
        restore.env("SAVEPOINT_TO", &server.url("postgres")).run().await?.expect(1)?;
        server.psql("postgres", "DROP OWNED BY it_lobs").await?;
        for name in [&db, &copy, &ours] {
            server.drop_db(name).await?;
        }
        server.psql("postgres", "DROP ROLE it_lobs").await?;
    }
    Ok(())
}

/// Many tiny tables share a few files; one of them alone can be restored; a changed byte is seen, whether it belongs to a table or to tar.
#[tokio::test(flavor = "multi_thread")]
async fn many_small_tables_are_packed() -> Result {
    let server = pg::server(17).await?;
    let (db, ours, one) = ("it_tiny", "it_tiny_ours", "it_tiny_one");
    server.create_db(db, "").await?;
    let sql = "DO $$ BEGIN FOR i IN 1..1200 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT g, md5(g::text) FROM generate_series(1, %s) g', \
               i, i % 20); IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END $$";
    server.psql(db, sql).await?;
    server.psql(db, "CREATE TABLE large AS SELECT g, md5(g::text) FROM generate_series(1, 200000) g").await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let run = |args: &[&str]| -> Result<Savepoint> {
        let run = Savepoint::new(args.to_vec())?.args(["--pg-bin-dir", &server.bin.display().to_string()]);
        Ok(run.to_s3(&s3.endpoint, &bucket, "p"))
    };
    let taken = run(&["backup"])?.env("SAVEPOINT_DATABASE_URL", &server.url(db)).run().await?.expect(0)?;
    ensure!(taken.stdout.contains("1,201 tables") && taken.stdout.contains("passed, all equal"), "{}", taken.output());
    taken.left_nothing()?;
    let objects = s3.list(&bucket).await?;
    ensure!(objects.len() < 12, "{objects:#?}");
    run(&["verify", "latest"])?.run().await?.expect(0)?;
    let restore = |args: &[&str]| Ok::<_, anyhow::Error>(run(args)?.env("SAVEPOINT_TO", &server.url("postgres")));
    restore(&["restore", "latest", "--create", ours])?.run().await?.expect(0)?;
    restore(&["restore", "latest", "--create", one, "--tables", "t7"])?.run().await?.expect(0)?;
    ensure!(server.psql(one, "SELECT count(*) FROM t7").await? == "7", "one table alone");
    let sum = "SELECT count(*), sum((xpath('/row/c/text()', query_to_xml(format('SELECT count(*) AS c FROM %s', oid::regclass), false, true, '')))[1]::text::int) \
               FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    ensure!(server.psql(ours, sum).await? == server.psql(db, sum).await?, "our restore differs");

    let pack = objects.iter().find(|o| o.key.ends_with("/pack-1.tar.gz")).context("no pack")?;
    let whole = s3.get(&bucket, &pack.key).await?;
    // In the first table's header, in its first byte, and in the padding behind the last.
    for at in [0, 512, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        s3.put(&bucket, &pack.key, bytes).await?;
        let ended = run(&["verify", "latest"])?.run().await?.expect(3)?;
        ensure!(ended.stdout.contains("pack-1.tar"), "byte {at}: {}", ended.output());
        let restore = restore(&["restore", "latest", "--force-unproven", "--create", "it_tiny_never"])?;
        let ended = restore.run().await?.expect(1)?;
        ensure!(ended.stderr.contains("pack-1.tar"), "byte {at}: {}", ended.output());
    }
    for name in [db, ours, one] {
        server.drop_db(name).await?;
    }
    Ok(())
}
