//! Restore drills: of what lies in a real S3 server, and of dumps of anybody's.

use crate::support::{
    Result, find,
    pg::{self, Server},
    run::{Ended, Savepoint},
    s3::{self, S3},
    scratch, undated,
};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};

const MAJOR: u32 = 17;
const PREFIX: &str = "some/prefix";

/// `savepoint verify` by the programs of this server.
fn verify(server: &Server, which: &str, args: &[&str]) -> Result<Savepoint> {
    let bin = server.bin.display().to_string();
    Ok(Savepoint::new(["verify", which, "--pg-bin-dir", &bin])?.args(args.to_vec()))
}

/// A proven backup in a bucket of its own.
async fn backed_up(server: &Server, db: &str, args: &[&str]) -> Result<(&'static S3, String)> {
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    back_up(server, db, s3, &bucket, args).await?;
    Ok((s3, bucket))
}

async fn back_up(server: &Server, db: &str, s3: &S3, bucket: &str, args: &[&str]) -> Result {
    let run = Savepoint::backup(&server.url(db), &server.bin)?.to_s3(&s3.endpoint, bucket, PREFIX).args(args.to_vec());
    run.run().await?.expect(0)?;
    Ok(())
}

async fn drill(server: &Server, place: (&S3, &str), which: &str, args: &[&str], code: i32) -> Result<Ended> {
    let run = verify(server, which, args)?.to_s3(&place.0.endpoint, place.1, PREFIX);
    let ended = run.run().await?.expect(code)?;
    ended.left_nothing()?;
    Ok(ended)
}

/// The proof records in order of their names.
async fn records(place: (&S3, &str)) -> Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for object in place.0.list(place.1).await?.into_iter().filter(|o| o.key.contains("/proofs/")) {
        found.push((object.key.clone(), serde_json::from_slice(&place.0.get(place.1, &object.key).await?)?));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// What people see, without what differs from run to run: ids, times, sizes of files, names of folders and buckets.
fn steady(text: &str, names: &[&str]) -> String {
    let mut text = text.to_owned();
    for (n, name) in names.iter().enumerate() {
        text = text.replace(name, &format!("<{n}>"));
    }
    let mut out = String::new();
    for line in text.lines() {
        let mut words = Vec::new();
        for word in line.split(' ') {
            let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            let digits = bare.chars().filter(char::is_ascii_digit).count();
            let mut shown = word.to_owned();
            for part in word.split('/') {
                let stamp =
                    part.len() >= 16 && part.as_bytes()[8] == b'T' && part[..8].bytes().all(|b| b.is_ascii_digit());
                if stamp {
                    shown = shown.replace(part, if part.ends_with(".json") { "TIME.json" } else { "ID" });
                }
            }
            if bare.len() == 20 && bare.ends_with('Z') && digits == 14 {
                shown = word.replace(bare, "TIME");
            }
            words.push(shown);
        }
        for n in 1..words.len() {
            let number = words[n - 1].trim_start_matches('(').replace('.', "").bytes().all(|b| b.is_ascii_digit());
            if matches!(words[n].trim_end_matches([',', ';']), "s" | "KiB" | "MiB" | "B")
                && number
                && !words[n - 1].is_empty()
            {
                words[n - 1] = "N".into();
            }
        }
        let line = words.join(" ");
        // Columns are as wide as their content.
        let line = line.split("  ").filter(|p| !p.trim().is_empty()).map(str::trim).collect::<Vec<_>>().join("  ");
        let line = match line.split_once("some/prefix/").and_then(|(a, b)| Some((a, b.split_once("/ID")?.1))) {
            Some((before, after)) => format!("{before}some/prefix/…/ID{after}"),
            None => line,
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

async fn drills(major: u32) -> Result {
    let server = pg::server(major).await?;
    server.awkward("drilled").await?;
    let (s3, bucket) = backed_up(server, "drilled", &[]).await?;
    let place = (s3, bucket.as_str());
    let before = s3.list(&bucket).await?;
    let ended = drill(server, place, "latest", &["--json"], 0).await?.json()?;
    let result = &ended["results"][0];
    ensure!(
        ended["verified"] == true && result["passed"] == true && result["differences"] == serde_json::json!([]),
        "{ended:#}"
    );
    ensure!(result["rto_seconds"].as_f64() > Some(0.0) && result["age_seconds"].as_f64() > Some(0.0), "{ended:#}");
    // The record of this proof says what that of the backup said; nothing else was written.
    let records = records(place).await?;
    let [(_, first), (_, second)] = &records[..] else { anyhow::bail!("{records:#?}") };
    ensure!(first["compared"] == second["compared"] && second["passed"] == true, "{records:#?}");
    let after = s3.list(&bucket).await?;
    let new: Vec<_> = after.iter().filter(|o| !before.contains(o)).collect();
    ensure!(new.len() == 1 && before.iter().all(|o| after.contains(o)), "{new:?}");
    ensure!(result["proof_uri"] == format!("s3://{bucket}/{}", new[0].key), "{ended:#}");
    Ok(())
}

#[tokio::test]
async fn a_stored_backup_is_proven_again_14() -> Result {
    drills(14).await
}

#[tokio::test]
async fn a_stored_backup_is_proven_again_15() -> Result {
    drills(15).await
}

#[tokio::test]
async fn a_stored_backup_is_proven_again_16() -> Result {
    drills(16).await
}

#[tokio::test]
async fn a_stored_backup_is_proven_again_17() -> Result {
    drills(17).await
}

#[tokio::test]
async fn a_stored_backup_is_proven_again_18() -> Result {
    drills(18).await
}

async fn small(server: &Server, db: &str) -> Result {
    server.create_db(db, "").await?;
    let sql = "CREATE TABLE customer AS SELECT n AS id, 'c' || n AS name FROM generate_series(1, 1200) n;
        ALTER TABLE customer ADD PRIMARY KEY (id);
        CREATE TABLE invoice AS SELECT n AS id, n % 1200 + 1 AS customer FROM generate_series(1, 5000) n;
        CREATE SEQUENCE numbers; SELECT setval('numbers', 41);";
    server.psql(db, sql).await?;
    Ok(())
}

#[tokio::test]
async fn what_people_see_of_a_drill() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "seen").await?;
    let (s3, bucket) = backed_up(server, "seen", &[]).await?;
    let place = (s3, bucket.as_str());
    let version = server.psql("seen", "SHOW server_version").await?;
    let dir = scratch()?;
    let checks = dir.path().join("checks.sql");
    fs::write(
        &checks,
        "-- every invoice has its customer\nSELECT * FROM invoice i WHERE NOT EXISTS (SELECT FROM customer c WHERE c.id = i.customer);\n",
    )?;
    let name = checks.display().to_string();
    let good = drill(server, place, "latest", &["--check-sql", &name, "--max-age", "1d", "--max-rto", "1h"], 0).await?;
    let counted = drill(server, place, "latest", &["--verify", "rows"], 0).await?;
    let read = drill(server, place, "latest", &["--verify", "archive"], 0).await?;
    // Each of these three fails alone: a check that returns rows, one that raises, and the rest passes.
    fs::write(
        &checks,
        "SELECT id, name FROM customer\n  WHERE id > 1195;\nSELECT 1 WHERE false; SELECT 1 / 0;\nSET search_path = public; SELECT 'a;b' WHERE 1 = 2",
    )?;
    let bad = drill(server, place, "latest", &["--check-sql", &name], 3).await?;
    let shown = [good, counted, read, bad].map(|e| e.stdout).join("=====\n");
    insta::assert_snapshot!("drill", steady(&shown, &[&bucket, &version]));
    // What the team's own questions say is about its data, not about the proof.
    let records = records(place).await?;
    ensure!(records.len() == 5 && records.iter().all(|(_, r)| r["passed"] == true), "{records:#?}");
    Ok(())
}

#[tokio::test]
async fn damage_in_the_store_fails_the_drill_and_is_recorded() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "damaged").await?;
    let (s3, bucket) = backed_up(server, "damaged", &[]).await?;
    let place = (s3, bucket.as_str());
    let objects = s3.list(&bucket).await?;
    let table = objects.iter().filter(|o| o.key.contains("/archive/t")).max_by_key(|o| o.size).context("no data")?;
    let good = s3.get(&bucket, &table.key).await?;
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    for (n, (what, bytes)) in
        [("flipped", Some(bad)), ("cut", Some(good[..good.len() - 9].to_vec())), ("gone", None)].into_iter().enumerate()
    {
        match bytes {
            Some(bytes) => s3.put(&bucket, &table.key, bytes).await?,
            None => s3.delete(&bucket, &table.key).await?,
        }
        for level in ["content", "archive"] {
            let ended = drill(server, place, "latest", &["--json", "--verify", level], 3).await?.json()?;
            let name = table.key.rsplit('/').next().context("no name")?;
            ensure!(
                ended["verified"] == false && ended["results"][0]["differences"].to_string().contains(name),
                "{what}: {ended:#}"
            );
        }
        let records = records(place).await?;
        ensure!(records.len() == 1 + 2 * (n + 1), "{records:#?}");
        ensure!(
            records[1..].iter().all(|(_, r)| r["passed"] == false && r["differences"] != serde_json::json!([])),
            "{records:#?}"
        );
    }
    s3.put(&bucket, &table.key, good).await?;
    drill(server, place, "latest", &[], 0).await?;
    // A manifest that is no longer one leaves nothing to prove.
    let manifest = objects.iter().find(|o| o.key.ends_with("/manifest.json")).context("no manifest")?;
    let bytes = s3.get(&bucket, &manifest.key).await?;
    s3.put(&bucket, &manifest.key, bytes[..bytes.len() / 2].to_vec()).await?;
    let ended = drill(server, place, "latest", &[], 3).await?;
    ensure!(ended.stderr.contains("cannot be proven"), "{}", ended.output());
    Ok(())
}

#[tokio::test]
async fn limits_that_are_exceeded_fail_the_drill() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("slow", "").await?;
    // An index that takes a while to build.
    let sql = "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
          'BEGIN PERFORM pg_catalog.pg_sleep(1.3); RETURN $1; END';
        CREATE TABLE t AS SELECT 1 AS n; CREATE INDEX ON t (slow(n));";
    server.psql("slow", sql).await?;
    let (s3, bucket) = backed_up(server, "slow", &[]).await?;
    let place = (s3, bucket.as_str());
    let ended = drill(server, place, "latest", &["--json", "--max-rto", "1s", "--max-age", "1s"], 3).await?.json()?;
    let result = &ended["results"][0];
    let limits = result["limits"].as_array().context("limits")?;
    ensure!(result["passed"] == true && limits.len() == 2 && ended["verified"] == false, "{ended:#}");
    ensure!(limits[0].to_string().contains("max-rto") && limits[1].to_string().contains("max-age"), "{ended:#}");
    ensure!(result["rto_seconds"].as_f64() > Some(1.3), "{ended:#}");
    // The age is that of the newest backup, whichever is restored.
    tokio::time::sleep(Duration::from_secs(5)).await;
    back_up(server, "slow", s3, &bucket, &["--verify", "none"]).await?;
    let ended = drill(server, place, "oldest", &["--json", "--max-rto", "1h"], 0).await?.json()?;
    let (age, first) = (ended["results"][0]["age_seconds"].as_f64().context("age")?, result["age_seconds"].as_f64());
    ensure!(Some(age) < first.map(|f| f + 5.0), "{age} {first:?}");
    Ok(())
}

#[tokio::test]
async fn another_server_is_used_and_left_as_it_was() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "elsewhere").await?;
    let (s3, bucket) = backed_up(server, "elsewhere", &[]).await?;
    let other = Server::start(MAJOR, "").await?;
    let list = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database";
    let roles = "SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles";
    let before = (other.psql("postgres", list).await?, other.psql("postgres", roles).await?);
    let url = other.url("postgres");
    let ended = drill(server, (s3, &bucket), "latest", &["--verify-url", &url], 0).await?;
    ensure!(ended.stdout.contains("(verify-url)"), "{}", ended.output());
    let dir = scratch()?;
    server.psql("elsewhere", "CREATE ROLE drill_owner; ALTER TABLE invoice OWNER TO drill_owner").await?;
    let dump = dir.path().join("dump");
    server.tool("pg_dump", &["-Fc", "-f", &dump.display().to_string(), "-d", &server.socket("elsewhere")]).await?;
    verify(server, &dump.display().to_string(), &["--verify-url", &url])?.run().await?.expect(0)?.left_nothing()?;
    let after = (other.psql("postgres", list).await?, other.psql("postgres", roles).await?);
    ensure!(before == after, "{before:?} {after:?}");
    let wrong = pg::server(16).await?.url("postgres");
    let ended = drill(server, (s3, &bucket), "latest", &["--verify-url", &wrong], 1).await?;
    ensure!(ended.stderr.contains("runs PostgreSQL 16"), "{}", ended.output());
    ensure!(records((s3, &bucket)).await?.len() == 2, "a drill that could not be tried left a record");
    Ok(())
}

#[tokio::test]
async fn all_backups_are_drilled_and_one_bad_one_fails() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "many drills").await?;
    let (s3, bucket) = backed_up(server, "many drills", &["--verify", "none"]).await?;
    let place = (s3, bucket.as_str());
    let first = s3.list(&bucket).await?;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        back_up(server, "many drills", s3, &bucket, &["--verify", "none"]).await?;
    }
    let good = drill(server, place, "all", &[], 0).await?;
    let table = first.iter().find(|o| o.key.contains("/archive/t")).context("no data")?;
    s3.delete(&bucket, &table.key).await?;
    let bad = drill(server, place, "all", &[], 3).await?;
    // One whose manifest is lost to damage does not keep the others from being drilled.
    let manifest = first.iter().find(|o| o.key.ends_with("/manifest.json")).context("no manifest")?;
    s3.put(&bucket, &manifest.key, b"{".to_vec()).await?;
    let lost = drill(server, place, "all", &[], 3).await?;
    let mut ids: Vec<String> =
        s3.list(&bucket).await?.iter().filter_map(|o| o.key.split('/').nth(6).map(str::to_owned)).collect();
    ids.dedup();
    let oid = table.key.rsplit('/').next().context("no name")?;
    let shown = undated(&[good.stdout, bad.stdout, lost.stdout].join("=====\n"), &ids);
    let names: Vec<&str> = ids.iter().map(String::as_str).chain([oid, &bucket]).collect();
    insta::assert_snapshot!("drills", steady(&shown, &names));
    ensure!(records(place).await?.len() == 3 + 3 + 2);
    Ok(())
}

/// Dumps a database whose roles the throwaway server does not know.
async fn foreign(server: &Server, db: &str) -> Result {
    small(server, db).await?;
    let sql = format!(
        "CREATE ROLE \"{db} owner\"; CREATE ROLE \"{db} reader\";
        ALTER TABLE customer OWNER TO \"{db} owner\"; GRANT SELECT ON invoice TO \"{db} reader\";
        ALTER DEFAULT PRIVILEGES FOR ROLE \"{db} owner\" GRANT SELECT ON TABLES TO \"{db} reader\";
        CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER \"{db} watch\" ON ddl_command_end EXECUTE FUNCTION on_ddl();
        CREATE EXTENSION hstore; SELECT lo_from_bytea(4711, 'abc');"
    );
    server.psql(db, &sql).await?;
    Ok(())
}

async fn dump(server: &Server, db: &str, path: &Path, options: &[&str]) -> Result {
    let (file, socket) = (path.display().to_string(), server.socket(db));
    server.tool("pg_dump", &[options, &["-f", &file, "-d", &socket]].concat()).await?;
    Ok(())
}

async fn foreign_drills(major: u32) -> Result {
    let server = pg::server(major).await?;
    let db = format!("foreign {major}");
    foreign(server, &db).await?;
    let dir = scratch()?;
    let mut formats: Vec<&[&str]> =
        vec![&["-Fp"], &["-Fp", "-Z6"], &["-Fc"], &["-Ft"], &["-Fd", "-j2"], &["-Fc", "--inserts"]];
    if major >= 16 {
        formats.extend::<[&[&str]; 4]>([&["-Fp", "-Zzstd"], &["-Fp", "-Zlz4"], &["-Fc", "-Zzstd"], &["-Fd", "-Zlz4"]]);
    }
    let check = dir.path().join("check.sql");
    fs::write(&check, "SELECT 1 WHERE (SELECT count(*) FROM invoice) <> 5000 OR lo_get(4711) <> 'abc';")?;
    for options in formats {
        // No name tells what it is.
        let path = dir.path().join(format!("nightly{}", options.concat()));
        dump(server, &db, &path, options).await?;
        let run =
            verify(server, &path.display().to_string(), &["--json", "--check-sql", &check.display().to_string()])?;
        let ended = run.run().await?.expect(0).with_context(|| format!("{options:?}"))?;
        ended.left_nothing()?;
        let page = ended.json()?;
        ensure!(
            page["verified"] == true && page["results"][0]["rows"] == 6200 && page["results"][0]["tables"] == 2,
            "{page:#}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn dumps_of_anybodys_are_drilled_14() -> Result {
    foreign_drills(14).await
}

#[tokio::test]
async fn dumps_of_anybodys_are_drilled_16() -> Result {
    foreign_drills(16).await
}

#[tokio::test]
async fn dumps_of_anybodys_are_drilled_18() -> Result {
    foreign_drills(18).await
}

#[tokio::test]
async fn a_dump_that_does_not_restore_whole_fails_the_drill() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "lossy").await?;
    let version = server.psql("lossy", "SHOW server_version").await?;
    let dir = scratch()?;
    let path = dir.path().join("lossy.sql");
    dump(server, "lossy", &path, &[]).await?;
    let file = path.display().to_string();
    let text = fs::read_to_string(&path)?;
    let (folder, of) = (dir.path().display().to_string(), |e: Ended| e.stdout);
    let good = of(verify(server, &file, &[])?.run().await?.expect(0)?);
    let read = of(verify(server, &file, &["--verify", "archive"])?.run().await?.expect(0)?);
    // Rows that are lost without an error.
    fs::write(
        &path,
        text.replace(
            "ALTER TABLE ONLY public.customer\n",
            "DELETE FROM public.customer WHERE id < 4;\nALTER TABLE ONLY public.customer\n",
        ),
    )?;
    let lost = of(verify(server, &file, &[])?.run().await?.expect(3)?);
    // A statement that fails.
    fs::write(&path, text.replace("CREATE SEQUENCE", "CREATE SEQUENZ"))?;
    let failed = of(verify(server, &file, &[])?.run().await?.expect(3)?);
    // The end is gone.
    fs::write(&path, &text[..text.len() - 200])?;
    let cut = verify(server, &file, &[])?.run().await?.expect(3)?;
    cut.left_nothing()?;
    let shown = [good, read, lost, failed, cut.stderr.clone()].join("=====\n");
    let size = text.len().to_string();
    let (cut_at, of) = ((text.len() - 200).to_string(), size.as_str());
    insta::assert_snapshot!("dump_drill", steady(&shown, &[&folder, &version, &cut_at, of]));
    let aged = verify(server, &file, &["--max-age", "1d"])?.run().await?.expect(2)?;
    ensure!(aged.stderr.contains("names no time zone"), "{}", aged.output());
    Ok(())
}

#[tokio::test]
async fn the_archive_of_a_backup_is_a_dump_too() -> Result {
    let server = pg::server(MAJOR).await?;
    small(server, "own archive").await?;
    let store = scratch()?;
    Savepoint::backup(&server.url("own archive"), &server.bin)?.to_folder(store.path()).run().await?.expect(0)?;
    let manifest = find(store.path(), "manifest.json")?;
    let backup = manifest.parent().context("no folder")?;
    // By its manifest where it lies, by itself elsewhere.
    let ended = verify(server, &backup.display().to_string(), &[])?.run().await?.expect(0)?;
    ensure!(ended.stdout.contains("passed, all equal"), "{}", ended.output());
    let moved = store.path().join("moved");
    fs::rename(backup, &moved)?;
    for folder in [moved.clone(), moved.join("archive")] {
        let ended = verify(server, &folder.display().to_string(), &[])?.run().await?.expect(0)?;
        ensure!(ended.stdout.contains("2 tables with 6,200 rows, as many as the dump holds"), "{}", ended.output());
    }
    Ok(())
}

#[tokio::test]
async fn an_interrupted_drill_leaves_nothing() -> Result {
    let server = pg::server(MAJOR).await?;
    server.create_db("interrupted", "").await?;
    let sql = "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
          'BEGIN PERFORM pg_catalog.pg_sleep(20); RETURN $1; END';
        CREATE TABLE t (n int); CREATE INDEX ON t (slow(n)); INSERT INTO t SELECT 1 WHERE false;";
    server.psql("interrupted", sql).await?;
    let dir = scratch()?;
    let path = dir.path().join("dump.sql");
    dump(server, "interrupted", &path, &[]).await?;
    fs::write(&path, fs::read_to_string(&path)?.replace("FROM stdin;\n", "FROM stdin;\n1\n"))?;
    let running = verify(server, &path.display().to_string(), &[])?.spawn()?;
    running.descendant("CREATE INDEX").await?;
    running.signal(rustix::process::Signal::TERM)?;
    let ended = running.wait().await?.expect(1)?;
    ensure!(ended.stderr.contains("interrupted"), "{}", ended.output());
    ended.left_nothing()
}
