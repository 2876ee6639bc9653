//! What the options say, held against plain pg_dump and pg_restore with the same ones.

use super::awkward::entries;
use crate::support::{
    Result,
    compare::compare,
    pg::{self, Server},
    run::{Ended, Savepoint, processes},
    scratch,
};
use anyhow::{Context, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const MAJOR: u32 = 17;

/// The one backup in a folder.
pub fn stored(store: &Path) -> Result<PathBuf> {
    let mut folders = vec![store.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.ends_with("manifest.json") {
                found.push(folder.clone());
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    let [backup] = &found[..] else { anyhow::bail!("not one backup in {}: {found:?}", store.display()) };
    Ok(backup.clone())
}

fn manifest(backup: &Path) -> Result<serde_json::Value> {
    Ok(serde_json::from_slice(&fs::read(backup.join("manifest.json"))?)?)
}

/// The one proof record.
fn proof(backup: &Path) -> Result<serde_json::Value> {
    let proofs: Vec<_> = fs::read_dir(backup.join("proofs"))?.collect::<std::io::Result<_>>()?;
    let [proof] = &proofs[..] else { anyhow::bail!("{} proof records", proofs.len()) };
    Ok(serde_json::from_slice(&fs::read(proof.path())?)?)
}

async fn backup(server: &Server, db: &str, store: &Path, args: &[&str]) -> Result<Ended> {
    let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store).args(args.to_vec());
    let ended = run.run().await?.expect(0)?;
    ended.left_nothing()?;
    Ok(ended)
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The options of both programs have the same names but for an s.
#[tokio::test]
async fn filters_take_what_pg_dump_takes() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it filters";
    server.awkward(db).await?;
    let more = "CREATE SCHEMA audit; CREATE TABLE audit.log (id serial PRIMARY KEY, what text); \
        INSERT INTO audit.log (what) SELECT md5(g::text) FROM generate_series(1, 500) g; \
        CREATE TABLE audit.sessions AS SELECT g AS id FROM generate_series(1, 700) g; \
        CREATE TABLE public.\"Odd, name\" AS SELECT 1 AS id";
    server.psql(db, more).await?;
    for (ours, theirs, left_out) in [
        (&["--schemas", "audit"][..], &["--schema=audit"][..], &[][..]),
        (&["--exclude-schemas", "audit"], &["--exclude-schema=audit"], &[]),
        (&["--tables", "audit.*"], &["--table=audit.*"], &[]),
        (
            &["--tables", r#"public."Odd, name",audit.log"#],
            &[r#"--table=public."Odd, name""#, "--table=audit.log"],
            &[],
        ),
        (&["--schema-only"], &["--schema-only"], &["rows"]),
        (
            &["--schemas", "audit", "--exclude-tables", "audit.log"],
            &["--schema=audit", "--exclude-table=audit.log"],
            &[],
        ),
    ] {
        let check = async {
            let (store, plain) = (scratch()?, scratch()?);
            let ended = backup(server, db, store.path(), ours).await?;
            let stored = stored(store.path())?;
            let dump = plain.path().join("dump").display().to_string();
            let (url, mut args) = (server.socket(db), vec!["-Fd", "-f", &dump]);
            args.extend(["-d", &url]);
            args.extend(theirs);
            server.tool("pg_dump", &args).await?;
            let (ours, theirs) =
                (entries(server, &stored.join("archive")).await?, entries(server, Path::new(&dump)).await?);
            let missing: Vec<_> = theirs.iter().filter(|e| !ours.contains(e)).collect();
            let added: Vec<_> = ours.iter().filter(|e| !theirs.contains(e)).collect();
            ensure!(ours == theirs, "missing: {missing:#?}; added: {added:#?}");
            let proof = proof(&stored)?;
            ensure!(proof["passed"] == true, "{proof:#}");
            let said = strings(&manifest(&stored)?["left_out"]);
            ensure!(!said.is_empty(), "nothing is said to be left out\n{}", ended.output());
            for name in left_out {
                ensure!(said.iter().any(|s| s.contains(name)), "{name} is not said to be left out: {said:#?}");
            }
            Ok(())
        };
        check.await.with_context(|| format!("{ours:?}"))?;
    }
    Ok(())
}

async fn small(server: &Server, db: &str) -> Result {
    server.create_db(db, "").await?;
    let sql = "CREATE TABLE one AS SELECT g AS id, md5(g::text) AS t FROM generate_series(1, 30000) g; \
        CREATE TABLE two (id serial PRIMARY KEY, t text); INSERT INTO two (t) SELECT t FROM one WHERE id < 100; \
        CREATE SCHEMA other; CREATE TABLE other.three AS SELECT 3 AS id; SELECT lo_from_bytea(4711, 'large')";
    server.psql(db, sql).await?;
    Ok(())
}

#[tokio::test]
async fn schema_public_alone() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "it_public").await?;
    let store = scratch()?;
    backup(server, "it_public", store.path(), &["--schemas", "public"]).await?;
    let stored = stored(store.path())?;
    let tables: Vec<_> = manifest(&stored)?["tables"].as_array().into_iter().flatten().cloned().collect();
    ensure!(tables.len() == 2 && tables.iter().all(|t| t["schema"] == "public"), "{tables:#?}");
    ensure!(proof(&stored)?["passed"] == true);
    Ok(())
}

/// pg_dump takes no extension as soon as tables or schemas are named; the proof has them all the same, as a restore must.
#[tokio::test]
async fn tables_that_need_an_extension() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("it_needs", "").await?;
    let sql = "CREATE EXTENSION pg_trgm; CREATE SCHEMA sales; CREATE TABLE sales.orders AS SELECT md5(g::text) AS t \
               FROM generate_series(1, 100) g; CREATE INDEX ON sales.orders USING gin (t gin_trgm_ops)";
    server.psql("it_needs", sql).await?;
    for filter in [["--tables", "sales.*"], ["--schemas", "sales"]] {
        let store = scratch()?;
        backup(server, "it_needs", store.path(), &filter).await?;
        let manifest = manifest(&stored(store.path())?)?;
        ensure!(manifest["left_out"].to_string().contains("extensions (pg_trgm)"), "{:#}", manifest["left_out"]);
    }
    Ok(())
}

#[tokio::test]
async fn levels_of_proof() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "it_levels").await?;
    for (level, outcome, says) in [
        ("content", "proven", "stored and proven"),
        ("rows", "proven", "rows"),
        ("archive", "proven", "archive"),
        ("none", "stored", "not proven"),
    ] {
        let check = async {
            let store = scratch()?;
            let ended = backup(server, "it_levels", store.path(), &["--verify", level, "--json"]).await?;
            let json = ended.json()?;
            ensure!(json["verify"] == level && json["outcome"] == outcome, "{json:#}");
            let stored = stored(store.path())?;
            ensure!(manifest(&stored)?["options"]["verify"] == level, "the manifest names another level");
            if level == "none" {
                ensure!(json["proof"].is_null() && !stored.join("proofs").exists(), "{json:#}");
            } else {
                let record = proof(&stored)?;
                ensure!(record["level"] == level && record["passed"] == true, "{record:#}");
                ensure!((level == "content") == strings(&record["unproven"]).is_empty(), "{record:#}");
            }
            let table = scratch()?;
            let ended = backup(server, "it_levels", table.path(), &["--verify", level]).await?;
            ensure!(ended.stdout.contains(says), "{says:?} is not said\n{}", ended.output());
            ensure!(level != "none" || !ended.stdout.contains("stored and proven"), "{}", ended.output());
            Ok(())
        };
        check.await.with_context(|| level.to_owned())?;
    }
    Ok(())
}

/// Whatever the compression, the number of jobs and the way the folder is written: plain pg_restore reads it.
#[tokio::test]
async fn compressions_jobs_and_folders() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "it_ways").await?;
    for (args, suffix) in [
        (&["--compression", "gzip:9"][..], ".dat.gz"),
        (&["--compression", "zstd:19", "--jobs", "16"], ".dat.zst"),
        (&["--compression", "none", "--jobs", "1"], ".dat"),
    ] {
        let check = async {
            let store = scratch()?;
            // By turns as a URL and as a path.
            let dir = store.path().join("new folder/b");
            let url = match args[1] {
                "none" => format!("file://{}", dir.display()),
                _ => dir.display().to_string(),
            };
            let run = Savepoint::backup(&server.url("it_ways"), &server.bin)?.args(["--destination", &url]);
            run.args(args.to_vec()).run().await?.expect(0)?.left_nothing()?;
            let stored = stored(store.path())?;
            ensure!(stored.starts_with(&dir), "{}", stored.display());
            let manifest = manifest(&stored)?;
            for table in manifest["tables"].as_array().context("tables")? {
                let file = table["file"].as_str().context("file")?;
                ensure!(file.ends_with(suffix) && stored.join(file).is_file(), "{file}");
            }
            ensure!(proof(&stored)?["passed"] == true);
            server.create_db("it_ways_copy", "").await?;
            server.pg_restore("it_ways_copy", &stored.join("archive")).await?;
            let found = compare((server, "it_ways"), (server, "it_ways_copy")).await?;
            ensure!(found.is_empty(), "{found:#?}");
            server.drop_db("it_ways_copy").await
        };
        check.await.with_context(|| format!("{args:?}"))?;
    }
    Ok(())
}

/// The connections share one rate, and rows of tables that fill no buffer count as well.
#[tokio::test]
async fn rows_are_read_no_faster_than_asked() -> Result {
    const PER_SECOND: f64 = 2e6;
    let server = pg::server(MAJOR).await?;
    server.create_db("it_gentle", "").await?;
    let sql =
        "DO $$ BEGIN FOR n IN 1..34 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT g AS id, repeat(''r'', 90) AS t
               FROM generate_series(1, %s) g', n, CASE WHEN n <= 4 THEN 8000 ELSE 1000 END); END LOOP; END $$";
    server.psql("it_gentle", sql).await?;
    let store = scratch()?;
    let args = ["--max-rate", "2MB", "--jobs", "4", "--json"];
    let json = backup(server, "it_gentle", store.path(), &args).await?.json()?;
    let stored = stored(store.path())?;
    ensure!(proof(&stored)?["passed"] == true && json["outcome"] == "proven", "{json:#}");
    let manifest = manifest(&stored)?;
    let tables = manifest["tables"].as_array().context("tables")?;
    let text: f64 = tables.iter().filter_map(|t| t["bytes"].as_f64()).sum();
    let (took, least) = (json["phases"]["dump"].as_f64().context("the dump's time")?, text / PER_SECOND - 0.25);
    ensure!(tables.len() == 34 && least > 2.5, "{text} bytes of {} tables are too little to tell", tables.len());
    ensure!(took >= least, "{text} bytes were read in {took:.2} s, not in {least:.2} s at least");
    Ok(())
}

#[tokio::test]
async fn redacted_host_and_one_object() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "it_redacted").await?;
    let store = scratch()?;
    let args = ["--redact-host", "--json", "-v"];
    let ended = backup(server, "it_redacted", store.path(), &args).await?;
    let json = ended.json()?;
    ensure!(json["command"] == "backup" && json["exit_code"] == 0 && json["outcome"] == "proven", "{json:#}");
    let stored = stored(store.path())?;
    let mut texts = vec![("stdout", ended.stdout.clone()), ("stderr", ended.stderr.clone())];
    texts.push(("manifest", manifest(&stored)?.to_string()));
    texts.push(("proof", proof(&stored)?.to_string()));
    texts.push(("globals", fs::read_to_string(stored.join("globals.sql"))?));
    for (what, text) in texts {
        let found = text.lines().find(|l| l.contains("127.0.0.1") || l.contains("localhost"));
        ensure!(found.is_none(), "the host in {what}: {found:?}");
    }
    ensure!(manifest(&stored)?["source"]["host"].as_str().is_some_and(|h| h.starts_with("sha256:")));
    // A failed run says as little.
    let store = scratch()?;
    let run = Savepoint::backup(&server.url("it_no_such_db"), &server.bin)?
        .to_folder(store.path())
        .args(["--redact-host", "--json"]);
    let ended = run.run().await?.expect(1)?;
    ensure!(ended.json()?["outcome"] == "failed");
    let found = ended.output().lines().find(|l| l.contains("127.0.0.1")).map(str::to_owned);
    ensure!(found.is_none(), "the host in a failed run: {found:?}");
    Ok(())
}

#[tokio::test]
async fn dry_run_touches_nothing() -> Result {
    // Its own: other tests make databases and roles meanwhile.
    let server = &pg::Server::start(MAJOR, "").await?;
    small(server, "it_dry").await?;
    let state = "SELECT (SELECT string_agg(datname, ',' ORDER BY 1) FROM pg_database), \
        (SELECT string_agg(rolname, ',' ORDER BY 1) FROM pg_roles), \
        (SELECT count(*) FROM pg_class), (SELECT xact_commit > 0 FROM pg_stat_database WHERE datname = 'it_dry')";
    let before = server.psql("it_dry", state).await?;
    let store = scratch()?;
    let missing = store.path().join("not/there");
    for dir in [store.path(), &missing] {
        let run = Savepoint::backup(&server.url("it_dry"), &server.bin)?.to_folder(dir);
        let run = run.args(["--dry-run", "--json"]).spawn()?;
        let pid = run.pid;
        let watch = tokio::spawn(async move {
            let mut seen = Vec::new();
            loop {
                let all = processes();
                if !all.iter().any(|p| p.pid == pid && !p.zombie) {
                    return seen;
                }
                let server = |p: &&crate::support::run::Process| {
                    p.parent == pid
                        && (p.cmdline.contains("bin/initdb") || p.cmdline.contains("bin/postgres"))
                        && !p.cmdline.contains("--version")
                };
                seen.extend(all.iter().filter(server).map(|p| p.cmdline.clone()));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let ended = run.wait().await?.expect(0)?;
        ended.left_nothing()?;
        let started = watch.await?;
        ensure!(started.is_empty(), "a throwaway server was started: {started:?}");
        let json = ended.json()?;
        ensure!(json["command"] == "plan", "{json:#}");
        let tables = json["plan"]["tables"].as_array().context("tables")?.len();
        ensure!(tables == 3, "{json:#}");
        ensure!(fs::read_dir(store.path())?.next().is_none(), "the destination was touched");
    }
    let after = server.psql("it_dry", state).await?;
    ensure!(before == after, "the server was touched: {before} {after}");
    Ok(())
}

#[tokio::test]
async fn check_says_what_is_fine_and_what_is_not() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "it_check").await?;
    let check = |url: String, store: PathBuf, args: &'static [&'static str]| async move {
        let bin = server.bin.display().to_string();
        let run = Savepoint::new(["check", "--pg-bin-dir", &bin])?.env("SAVEPOINT_DATABASE_URL", &url);
        run.to_folder(&store).args(args.to_vec()).run().await
    };
    let store = scratch()?;
    let good = check(server.url("it_check"), store.path().to_owned(), &[]).await?.expect(0)?;
    good.left_nothing()?;
    ensure!(good.stdout.lines().all(|l| l.starts_with("ok  ") || l.starts_with("warn")), "{}", good.output());
    for name in
        ["destination", "connection", "pooler", "privileges", "connections", "tools", "disk", "throwaway", "extensions"]
    {
        let lines = good.stdout.lines().filter(|l| l.split_whitespace().nth(1) == Some(name)).count();
        ensure!(lines == 1, "{lines} lines on {name}\n{}", good.output());
    }
    server.psql("it_check", "CREATE ROLE it_checker LOGIN").await?;
    let url = server.url_at(server.port, "it_checker", "it_check");
    let bad = check(url.clone(), store.path().to_owned(), &[]).await?.expect(1)?;
    bad.left_nothing()?;
    let lines: Vec<&str> = bad.stdout.lines().collect();
    let failed: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].starts_with("FAIL")).collect();
    ensure!(!failed.is_empty(), "{}", bad.output());
    for i in failed {
        ensure!(lines.get(i + 1).is_some_and(|l| l.trim_start().starts_with("hint: ")), "no cure\n{}", bad.output());
    }
    ensure!(bad.stdout.contains("role it_checker may not read") && bad.stdout.contains("GRANT"), "{}", bad.output());
    let json = check(url, store.path().to_owned(), &["--json"]).await?.expect(1)?.json()?;
    ensure!(json["command"] == "check" && json["ok"] == false, "{json:#}");
    ensure!(fs::read_dir(store.path())?.next().is_none(), "left at the destination");
    Ok(())
}

/// Frames in flight are bounded, whatever the size of the table.
#[tokio::test]
async fn memory_stays_bounded() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_memory";
    server.create_db(db, "").await?;
    server.psql_file(db, "big.sql").await?;
    let sql = "CREATE TABLE wide AS SELECT g AS id, (SELECT string_agg(md5(g::text || h), '') FROM generate_series(1, 32) h) AS t \
        FROM generate_series(1, 150000) g";
    server.psql(db, sql).await?;
    let size = server.psql(db, "SELECT pg_table_size('wide') >> 20").await?.parse::<u64>()?;
    ensure!(size >= 150, "the table has {size} MiB");
    let most = peak_memory(server, db, &scratch()?).await?;
    ensure!((1..256).contains(&most), "{most} MiB were used");
    Ok(())
}

/// Huge rows are read one at a time, whatever the number of connections; here of text, bytea, jsonb, and some among many small ones.
#[tokio::test]
async fn memory_of_huge_rows_is_bounded() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_huge";
    server.create_db(db, "").await?;
    let hex = "(SELECT string_agg(md5((g * 1000000 + n)::text), '') FROM generate_series(1, 1250000) n)";
    let sql = format!(
        "CREATE TABLE texts AS SELECT g AS id, {hex} AS t FROM generate_series(1, 3) g; \
         CREATE TABLE more_texts AS TABLE texts; \
         CREATE TABLE bytes AS SELECT id, decode(t, 'hex') AS b FROM texts; \
         CREATE TABLE documents AS SELECT id, jsonb_build_object('t', t) AS d FROM texts; \
         CREATE TABLE mixed AS SELECT g AS id, repeat('small ', 3) AS t FROM generate_series(1, 5000) g; \
         INSERT INTO mixed SELECT id, t FROM texts; INSERT INTO mixed SELECT 0, repeat('abcdef', 7000000); \
         INSERT INTO mixed SELECT 0, t || repeat('a', 200000000) FROM texts WHERE id = 1"
    );
    server.psql(db, &sql).await?;
    let store = scratch()?;
    let most = peak_memory(server, db, &store).await?;
    // 202 MiB were measured, and 584 when more of a huge frame is decompressed at once.
    ensure!((1..240).contains(&most), "{most} MiB were used");
    // They are all there for a plain pg_restore.
    server.create_db("it_huge_copy", "").await?;
    server.pg_restore("it_huge_copy", &stored(store.path())?.join("archive")).await?;
    let sums = "SELECT sum(hashtext(t)) FROM texts UNION ALL SELECT sum(hashtext(t)) FROM more_texts UNION ALL \
                SELECT sum(hashtext(md5(b))) FROM bytes UNION ALL SELECT sum(hashtext(d::text)) FROM documents UNION ALL \
                SELECT sum(hashtext(t)) + count(*) FROM mixed";
    ensure!(server.psql(db, sums).await? == server.psql("it_huge_copy", sums).await?, "rows differ");
    server.drop_db("it_huge_copy").await?;
    server.drop_db(db).await
}

/// Takes a proven backup and returns the most memory that it had, MiB.
async fn peak_memory(server: &Server, db: &str, store: &tempfile::TempDir) -> Result<u64> {
    let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(store.path()).spawn()?;
    let status = format!("/proc/{}/status", run.pid);
    let watch = tokio::spawn(async move {
        let mut most = 0;
        while let Ok(status) = fs::read_to_string(&status) {
            let kib = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).map(|l| l.trim().trim_end_matches(" kB"));
            match kib.and_then(|k| k.parse::<u64>().ok()) {
                Some(kib) => most = kib,
                // Ended, not yet waited for.
                None => break,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        most >> 10
    });
    run.wait().await?.expect(0)?.left_nothing()?;
    Ok(watch.await?)
}
