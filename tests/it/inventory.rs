//! What lies at a destination, listed, shown and compared, and each backup beside the one before: on real backups in a real S3 server.

use crate::support::{
    Result,
    pg::Server,
    run::{Ended, Savepoint},
    s3::{S3, s3},
    scratch, sealed, undated,
};
use anyhow::{Context, ensure};
use savepoint::vault::{Manifest, is_id};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MAJOR: u32 = 17;

/// A server of its own with the databases `app` and `app_staging`, and a bucket.
struct Stage {
    server: Server,
    s3: &'static S3,
    bucket: String,
}

impl Stage {
    async fn new() -> Result<Self> {
        let (server, s3) = tokio::try_join!(Server::start(MAJOR, ""), s3())?;
        let sql = "CREATE EXTENSION pg_trgm; \
            CREATE TABLE orders AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 5000) g; \
            CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) SELECT 'u' || g FROM generate_series(1, 300) g; \
            CREATE TABLE old AS SELECT 1 AS id; CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM orders; \
            SELECT lo_from_bytea(4711, 'large')";
        for db in ["app", "app_staging"] {
            server.create_db(db, "").await?;
            server.psql(db, sql).await?;
        }
        Ok(Self { server, s3, bucket: s3.bucket().await? })
    }

    fn run(&self, args: &[&str]) -> Result<Savepoint> {
        Ok(Savepoint::new(args.to_vec())?.to_s3(&self.s3.endpoint, &self.bucket, "some/where"))
    }

    async fn backup(&self, db: &str, args: &[&str]) -> Result<Ended> {
        // Ids of the same second come in any order.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let run = Savepoint::backup(&self.server.url(db), &self.server.bin)?;
        run.to_s3(&self.s3.endpoint, &self.bucket, "some/where").args(args.to_vec()).run().await
    }

    /// A backup that succeeds; its id.
    async fn id(&self, db: &str, args: &[&str]) -> Result<String> {
        let ended = self.backup(db, args).await?.expect(0)?;
        let id = ended.stdout.split_whitespace().find(|w| is_id(w)).context("no id")?;
        Ok(id.to_owned())
    }

    /// `savepoint list --json` with these arguments: ids.
    async fn listed(&self, args: &[&str]) -> Result<Vec<String>> {
        let json = self.run(&["list", "--json"])?.args(args.to_vec()).run().await?.expect(0)?.json()?;
        Ok(texts(&json["backups"], "id"))
    }

    /// The key of a file of a backup.
    async fn key(&self, id: &str, part: &str) -> Result<String> {
        let objects = self.s3.list(&self.bucket).await?;
        let found = objects.into_iter().find(|o| o.key.contains(id) && o.key.contains(part));
        Ok(found.with_context(|| format!("no {part} of {id}"))?.key)
    }
}

fn texts(list: &Value, field: &str) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v[field].as_str().map(str::to_owned)).collect()
}

/// Text as it is in every run: ids by their order in `ids`, and no times, sizes, ports and widths of columns.
fn masked(text: &str, ids: &[&str], stage: &Stage) -> String {
    let mut text = text.replace(&stage.bucket, "BUCKET").replace(&stage.s3.endpoint, "ENDPOINT");
    text = text.replace(&format!(":{}/", stage.server.port), ":PORT/");
    text = undated(&text, ids);
    for (n, id) in ids.iter().enumerate() {
        text = text.replace(id, &format!("ID{}", n + 1));
    }
    let number = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit() || b"(.+-x".contains(&b));
    let mut out = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let unit = |w: &str| {
            ["B", "KiB", "MiB", "s", "min", "h", "%", "smaller"].contains(&w.trim_end_matches([',', ')', ';']))
        };
        let word = |n: usize| match words[n] {
            w if number(w) && words.get(n + 1).is_some_and(|w| unit(w)) => "N".to_owned(),
            w if w.len() >= 20 && w.starts_with("20") && w.trim_end_matches(',').ends_with('Z') => "TIME".to_owned(),
            w if w.starts_with("archive/t") => "FILE".to_owned(),
            w if w.starts_with("17.") => "17".to_owned(),
            w => w.to_owned(),
        };
        let line: Vec<String> = (0..words.len()).map(word).collect();
        out.push_str(&line.join(" "));
        out.push('\n');
    }
    out
}

#[tokio::test]
async fn an_empty_destination_and_one_that_is_not_there() -> Result {
    let s3 = s3().await?;
    let bucket = s3.bucket().await?;
    let list = || Ok::<_, anyhow::Error>(Savepoint::new(["list"])?.to_s3(&s3.endpoint, &bucket, "p"));
    let ended = list()?.run().await?.expect(0)?;
    ensure!(ended.stdout.starts_with(&format!("no backups in s3://{bucket}/p/\n")), "{}", ended.output());
    ensure!(
        ended.stdout.contains("savepoint backup --database-url \"$DATABASE_URL\" --destination"),
        "{}",
        ended.output()
    );
    let json = list()?.args(["--json"]).run().await?.expect(0)?.json()?;
    ensure!(json["backups"] == json!([]) && json["unfinished"] == json!([]), "{json:#}");
    // A mistyped folder is an error, and is not made.
    let dir = scratch()?;
    let missing = dir.path().join("missing");
    for verb in [&["list"][..], &["show", "latest"], &["diff", "oldest", "latest"]] {
        let ended = Savepoint::new(verb.to_vec())?.to_folder(&missing).run().await?.expect(1)?;
        ensure!(ended.stderr.contains("does not exist") && ended.stderr.contains("hint: "), "{}", ended.output());
        ensure!(!missing.exists(), "{verb:?} made it");
    }
    Ok(())
}

#[tokio::test]
async fn backups_listed_shown_and_compared() -> Result {
    let stage = Stage::new().await?;
    let first = stage.id("app", &["--kind", "snapshot"]).await?;
    let sql = "DELETE FROM orders WHERE id > 4000; UPDATE users SET name = 'x' WHERE id = 7; DROP TABLE old; \
        CREATE TABLE fresh (a int, b text); ALTER TABLE orders ADD COLUMN extra int; CREATE INDEX o ON orders (id); \
        DROP EXTENSION pg_trgm; SELECT nextval('users_id_seq'); SELECT lo_unlink(4711)";
    stage.server.psql("app", sql).await?;
    let second = stage.id("app", &["--kind", "snapshot", "--verify", "rows"]).await?;
    let nightly = stage.id("app", &["--kind", "scheduled", "--verify", "none"]).await?;
    let staging =
        stage.id("app_staging", &["--kind", "manual", "--verify", "archive", "--exclude-table-data", "orders"]).await?;
    let all = [first.as_str(), &second, &nightly, &staging];

    // List, and its filters.
    let shown = stage.run(&["list"])?.run().await?.expect(0)?.stdout;
    insta::assert_snapshot!("list", masked(&shown, &all, &stage));
    for (args, expected) in [
        (&[][..], vec![&staging, &nightly, &second, &first]),
        (&["--kind", "snapshot"], vec![&second, &first]),
        (&["--database", "app"], vec![&nightly, &second, &first]),
        (&["--database", "ap"], vec![]),
        (&["--proof", "passed"], vec![&staging, &second, &first]),
        (&["--proof", "none"], vec![&nightly]),
        (&["--proof", "failed"], vec![]),
        (&["--newer-than", "1h"], vec![&staging, &nightly, &second, &first]),
        (&["--older-than", "1h"], vec![]),
    ] {
        let found = stage.listed(args).await?;
        ensure!(found.iter().eq(expected.iter().copied()), "{args:?}: {found:?}");
    }
    let json = stage.run(&["list", "--json"])?.run().await?.expect(0)?.json()?;
    let entry = &json["backups"][3];
    ensure!(entry["rows"] == 5301 && entry["tables"] == 3 && entry["proof"]["level"] == "content", "{entry:#}");
    ensure!(entry["uri"].as_str().is_some_and(|u| u.ends_with(&format!("{first}/"))), "{entry:#}");
    let elsewhere = stage.run(&["list", "--database", "ap"])?.run().await?.expect(0)?.stdout;
    ensure!(elsewhere.contains("no backups of database ap in") && elsewhere.contains("- app_staging"), "{elsewhere}");

    // Show.
    let shown = stage.run(&["show", &first])?.run().await?.expect(0)?.stdout;
    insta::assert_snapshot!("show", masked(&shown, &all, &stage));
    let shown =
        stage.run(&["show", "latest", "--database", "app_staging", "--json"])?.run().await?.expect(0)?.json()?;
    ensure!(shown["backup"]["id"] == staging.as_str(), "{shown:#}");
    ensure!(shown["backup"]["tables"][0]["columns"].is_array() && shown["backup"]["tables"][0].get("chunks").is_none());
    ensure!(shown["proofs"][0]["proof"]["level"] == "archive", "{shown:#}");
    let commands = shown["restore_commands"].as_array().context("commands")?;
    ensure!(
        commands[0].as_str().is_some_and(|c| c.contains(&format!("--endpoint-url {}", stage.s3.endpoint))),
        "{commands:?}"
    );
    let latest = stage.run(&["show", "latest", "--database", "app", "--kind", "snapshot", "--json"])?;
    ensure!(latest.run().await?.expect(0)?.json()?["backup"]["id"] == second.as_str());
    let ended = stage.run(&["show", "latest"])?.run().await?.expect(2)?;
    ensure!(ended.stderr.contains("name one of them by the option database: app, app_staging"), "{}", ended.output());

    // Diff, in the order in which they were named.
    let shown = stage.run(&["diff", &first, &second])?.run().await?.expect(0)?.stdout;
    insta::assert_snapshot!("diff", masked(&shown, &all, &stage));
    let json = stage.run(&["diff", &second, &first, "--json"])?.run().await?.expect(0)?.json()?;
    ensure!(json["tables"]["only_in_one"][0]["table"] == "public.fresh", "{json:#}");
    ensure!(json["tables"]["changed"][0]["rows"] == json!([4000, 5000]), "{json:#}");
    ensure!(json["equal"] == false && json["schema"]["equal"] == false, "{json:#}");
    let json = stage.run(&["diff", &second, &nightly, "--json"])?.run().await?.expect(0)?.json()?;
    ensure!(json["equal"] == true && json["tables"]["equal"] == 3, "{json:#}");
    Ok(())
}

#[tokio::test]
async fn damage_is_never_hidden() -> Result {
    let stage = Stage::new().await?;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(stage.id("app", &["--verify", "archive"]).await?);
    }
    let [good, cut, gone, unread, failed, alien] = &ids[..] else { anyhow::bail!("not six") };
    let (s3, bucket) = (stage.s3, stage.bucket.as_str());
    // A manifest that was cut, a file that is gone, a proof that cannot be read, one that failed, and another backup's manifest.
    let manifest = stage.key(cut, "manifest.json").await?;
    let whole = s3.get(bucket, &manifest).await?;
    s3.put(bucket, &manifest, whole[..whole.len() / 2].to_vec()).await?;
    s3.delete(bucket, &stage.key(gone, "archive/t").await?).await?;
    s3.put(bucket, &stage.key(unread, "proofs/").await?, b"{".to_vec()).await?;
    let record = stage.key(failed, "proofs/").await?;
    let mut proof: Value = serde_json::from_slice(&s3.get(bucket, &record).await?)?;
    proof["passed"] = json!(false);
    proof["differences"] = json!(["table public.orders: 3 rows fewer"]);
    s3.put(bucket, &record.replace("proofs/20", "proofs/30"), serde_json::to_vec(&proof)?).await?;
    s3.put(bucket, &stage.key(alien, "manifest.json").await?, whole.clone()).await?;
    // Of a large manifest the list reads both ends; written by another program in another order, it reads it whole.
    let large = stage.key(good, "manifest.json").await?;
    let mut manifest: Manifest = serde_json::from_slice(&s3.get(bucket, &large).await?)?;
    let frame =
        manifest.tables.iter().flat_map(|t| t.chunks.iter().flat_map(|c| &c.frames)).next().context("frame")?.clone();
    manifest.tables[0].chunks[0].frames = vec![frame; 3000];
    let other_order = serde_json::to_vec_pretty(&serde_json::to_value(&manifest)?)?;
    for body in [other_order, serde_json::to_vec_pretty(&manifest)?] {
        ensure!(body.len() > 400_000, "not large: {}", body.len());
        s3.put(bucket, &large, body).await?;
        let json = stage.run(&["list", "--json"])?.run().await?.expect(0)?.json()?;
        let entry =
            json["backups"].as_array().into_iter().flatten().find(|b| b["id"] == good.as_str()).context("good")?;
        ensure!(entry["rows"] == 5301 && entry["damage"] == json!([]), "{entry:#}");
        ensure!(entry["postgres_version"].as_str().is_some_and(|v| v.starts_with("17")), "{entry:#}");
    }
    let unfinished = "20200101T000000Z-snapshot-0123abc";
    s3.put(bucket, &format!("some/where/app/2020/01/01/{unfinished}/archive/t1.dat"), vec![0; 2048]).await?;
    s3.put(bucket, "some/where/elsewhere/file.json", b"{}".to_vec()).await?;

    let ended = stage.run(&["list"])?.run().await?.expect(0)?;
    for id in &ids {
        ensure!(ended.stdout.contains(id), "{id} is hidden\n{}", ended.output());
    }
    for (id, why) in [
        (cut, "it is no manifest"),
        (gone, "bytes are missing"),
        (unread, "no proof record"),
        (alien, "is the manifest of"),
    ] {
        let line = ended.stdout.lines().find(|l| l.contains(id) && l.contains("DAMAGED"));
        ensure!(line.is_some(), "{id} is not called damaged\n{}", ended.output());
        let reason = ended.stdout.lines().find(|l| l.contains(&format!("- backup {id}: ")) && l.contains(why));
        ensure!(reason.is_some(), "{why} is not said\n{}", ended.output());
    }
    ensure!(
        ended.stdout.lines().any(|l| l.contains(failed.as_str()) && l.contains("FAILED (archive")),
        "{}",
        ended.output()
    );
    ensure!(ended.stdout.contains(&format!("{unfinished} of database app: no manifest, begun ")), "{}", ended.output());
    ensure!(stage.listed(&["--proof", "passed"]).await? == [good.as_str()]);
    ensure!(stage.listed(&["--proof", "failed"]).await?.len() == 5);
    // A list that leaves the damaged ones out names them all the same.
    let passed = stage.run(&["list", "--proof", "passed"])?.run().await?.expect(0)?.stdout;
    ensure!(passed.contains(&format!("backup {cut}: ")), "{passed}");
    let json = stage.run(&["list", "--json"])?.run().await?.expect(0)?.json()?;
    ensure!(
        texts(&json["unfinished"], "id") == [unfinished] && json["warnings"].as_array().is_some_and(|w| w.len() == 4)
    );

    // Shown: what is wrong is said; without a manifest there is nothing to show.
    let shown = stage.run(&["show", gone])?.run().await?.expect(0)?.stdout;
    ensure!(shown.contains("stored file archive/t") && shown.contains(" is missing"), "{shown}");
    let shown = stage.run(&["show", failed])?.run().await?.expect(0)?.stdout;
    ensure!(shown.contains("FAILED, 1 difference") && shown.contains("- table public.orders: 3 rows fewer"), "{shown}");
    let shown = stage.run(&["show", unread])?.run().await?.expect(0)?.stdout;
    ensure!(shown.contains("it is no proof record"), "{shown}");
    for (id, why) in [
        (cut, "no manifest"),
        (alien, "is no backup: manifest.json names backup"),
        (&unfinished.to_owned(), "no backup"),
    ] {
        let ended = stage.run(&["show", id])?.run().await?.expect(1)?;
        ensure!(ended.stderr.contains(why), "{id}\n{}", ended.output());
    }
    Ok(())
}

/// Anomalies of a run, from its JSON.
fn anomalies(ended: &Ended) -> Result<Vec<String>> {
    let json = ended.json()?;
    let list = json["anomalies"].as_array().context("no anomalies")?;
    Ok(list.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect())
}

#[tokio::test]
async fn what_is_odd_beside_the_backup_before_is_said() -> Result {
    let stage = Stage::new().await?;
    let quick = ["--verify", "none", "--json"];
    let with = |more: &[&'static str]| [&quick[..], more].concat();
    // Nothing is odd about the first, about an equal one, and about more rows.
    for sql in ["SELECT 1", "SELECT 1", "INSERT INTO orders SELECT g, 'x' FROM generate_series(5001, 6000) g"] {
        stage.server.psql("app", sql).await?;
        let ended = stage.backup("app", &quick).await?.expect(0)?;
        ensure!(anomalies(&ended)?.is_empty() && ended.json()?["warnings"] == json!([]), "{sql}\n{}", ended.output());
    }
    let before = stage.id("app", &["--verify", "none"]).await?;
    stage.server.psql("app", "DELETE FROM orders WHERE id > 2999; TRUNCATE users; DROP TABLE old").await?;
    // Another kind and another database have nothing before them.
    for (db, kind) in [("app", "scheduled"), ("app_staging", "manual")] {
        ensure!(anomalies(&stage.backup(db, &with(&["--kind", kind])).await?.expect(0)?)?.is_empty(), "{db} {kind}");
    }
    // Asked for something else: not compared, and that is said.
    let ended = stage.backup("app", &with(&["--exclude-tables", "users"])).await?.expect(0)?;
    ensure!(anomalies(&ended)?.is_empty(), "{}", ended.output());
    let notices = ended.json()?["notices"].to_string();
    ensure!(notices.contains(&format!("not compared with the backup before, {before}")), "{notices}");
    for object in stage
        .s3
        .list(&stage.bucket)
        .await?
        .iter()
        .filter(|o| ended.json().is_ok_and(|j| j["backup"]["id"].as_str().is_some_and(|id| o.key.contains(id))))
    {
        stage.s3.delete(&stage.bucket, &object.key).await?;
    }
    let ended = stage.backup("app", &["--fail-on-anomaly", "--json"]).await?.expect(4)?;
    let expected = [
        format!("table public.old is gone; it had 1 row in {before}"),
        format!("table public.orders has 50 % fewer rows: 2,999, it had 6,000 in {before}"),
        format!("table public.users is empty; it had 300 rows in {before}"),
    ];
    let found = anomalies(&ended)?;
    ensure!(expected.iter().all(|e| found.contains(e)), "{found:#?}");
    let json = ended.json()?;
    ensure!(json["outcome"] == "proven" && json["exit_code"] == 4, "{json:#}");
    ensure!(ended.stderr.contains("fail-on-anomaly is set: table public.old is gone"), "{}", ended.output());
    // Run again it fails again, by the same measure: who only repeats a failed job opens no gate.
    let again = stage.backup("app", &["--fail-on-anomaly", "--json"]).await?.expect(4)?;
    ensure!(expected.iter().all(|e| anomalies(&again).is_ok_and(|found| found.contains(e))), "{}", again.output());
    // A run without it takes it as it is, and then it is the measure. Beside that one nothing is odd; within the limits nothing is odd either.
    ensure!(anomalies(&stage.backup("app", &quick).await?.expect(0)?)?.is_empty());
    ensure!(anomalies(&stage.backup("app", &with(&["--fail-on-anomaly"])).await?.expect(0)?)?.is_empty());
    stage.server.psql("app", "DELETE FROM orders WHERE id > 1000").await?;
    ensure!(anomalies(&stage.backup("app", &with(&["--max-drop", "70"])).await?.expect(0)?)?.is_empty());
    // Told, but no failure: what people see.
    stage.server.psql("app", "TRUNCATE orders").await?;
    let before = texts(&stage.run(&["list", "--json"])?.run().await?.json()?["backups"], "id").remove(0);
    let ended = stage.backup("app", &["--verify", "none"]).await?.expect(0)?;
    let line = format!("\nanomalies:\n  - table public.orders is empty; it had 1,000 rows in {before}\n");
    ensure!(ended.stdout.contains(&line), "{}", ended.output());
    // A manifest before that cannot be read is a warning.
    let last = stage.listed(&[]).await?.remove(0);
    stage.s3.put(&stage.bucket, &stage.key(&last, "manifest.json").await?, b"{}".to_vec()).await?;
    let ended = stage.backup("app", &with(&["--fail-on-anomaly"])).await?.expect(0)?;
    let warnings = ended.json()?["warnings"].to_string();
    ensure!(warnings.contains("not compared with the backup before") && warnings.contains(&last), "{warnings}");
    Ok(())
}

#[tokio::test]
async fn a_database_without_tables_is_no_success() -> Result {
    let stage = Stage::new().await?;
    stage.server.create_db("empty", "").await?;
    stage.server.psql("empty", "CREATE EXTENSION pg_trgm; CREATE VIEW v AS SELECT 1").await?;
    for (db, args, named) in [
        ("empty", &[][..], "database empty holds no table at all"),
        ("empty", &["--schema-only"], "database empty holds no table at all"),
        ("empty", &["--dry-run"], "database empty holds no table at all"),
        ("app", &["--exclude-schemas", "public"], "the filter leaves out all 3 tables of database app"),
    ] {
        let ended = stage.backup(db, args).await?.expect(1)?;
        ensure!(ended.stderr.contains(named) && ended.stderr.contains("--allow-empty"), "{args:?}\n{}", ended.output());
        ended.left_nothing()?;
        let left = stage.s3.list(&stage.bucket).await?;
        ensure!(left.is_empty(), "{args:?} left {left:?}");
    }
    for (db, args) in [
        ("empty", &["--allow-empty"][..]),
        ("app", &["--exclude-schemas", "public", "--allow-empty"]),
        // Tables without rows are tables.
        ("app", &["--schema-only"]),
    ] {
        stage.backup(db, args).await?.expect(0)?;
    }
    Ok(())
}

/// Copies of one real backup under other days and ids.
const COPIES: usize = 1_200;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_backups() -> Result {
    let stage = Stage::new().await?;
    let id = stage.id("app", &["--verify", "archive"]).await?;
    let mut files = Vec::new();
    for object in stage.s3.list(&stage.bucket).await? {
        let rest = object.key.split_once(&format!("{id}/")).context("not of the backup")?.1.to_owned();
        files.push((rest, stage.s3.get(&stage.bucket, &object.key).await?));
    }
    // Three a day, of two databases.
    let mut copies = Vec::new();
    for n in 0..COPIES {
        let day = time::macros::date!(2024 - 01 - 01) + time::Duration::days(n as i64 / 3);
        let stamp = day.to_string().replace('-', "");
        let copy = format!("{stamp}T{:02}0000Z-scheduled-{n:07x}", n % 3);
        let db = ["app", "app_staging"][n % 2];
        let folder = format!("some/where/{db}/{}/{copy}/", day.to_string().replace('-', "/"));
        for (rest, body) in &files {
            let body = match rest.as_str() {
                "manifest.json" => {
                    let mut manifest: Value = serde_json::from_slice(body)?;
                    manifest["id"] = json!(copy);
                    manifest["kind"] = json!("scheduled");
                    manifest["source"]["database"] = json!(db);
                    sealed(&manifest)?
                }
                proof if proof.starts_with("proofs/") => {
                    let mut proof: Value = serde_json::from_slice(body)?;
                    proof["backup_id"] = json!(copy);
                    serde_json::to_vec(&proof)?
                }
                _ => body.clone(),
            };
            copies.push((format!("{folder}{rest}"), body));
        }
    }
    let objects = copies.len();
    let work = std::sync::Arc::new(std::sync::Mutex::new(copies));
    let mut putting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (work, bucket, s3) = (work.clone(), stage.bucket.clone(), stage.s3);
        putting.spawn(async move {
            let client = s3.client();
            loop {
                let Some((key, body)) = work.lock().unwrap().pop() else { return Ok(()) };
                client.put_object().bucket(&bucket).key(&key).body(body.into()).send().await?;
            }
        });
    }
    putting.join_all().await.into_iter().collect::<Result>()?;

    let begun = Instant::now();
    let json = stage.run(&["list", "--json"])?.run().await?.expect(0)?.json()?;
    let took = begun.elapsed();
    eprintln!("{COPIES} backups, {objects} objects: listed in {took:?}");
    let backups = json["backups"].as_array().context("backups")?;
    ensure!(backups.len() == COPIES + 1, "{}", backups.len());
    ensure!(backups.iter().all(|b| b["rows"] == 5301 && b["proof"]["passed"] == true && b["damage"] == json!([])));
    let ids = texts(&json["backups"], "id");
    ensure!(ids[0] == id && ids.is_sorted_by(|a, b| a[..16] >= b[..16]), "not in order");
    ensure!(took < Duration::from_secs(60), "{took:?}");
    // The page of them all.
    let page = scratch()?;
    let begun = Instant::now();
    let report = stage.run(&["report", "--to", &page.path().display().to_string()])?.run().await?.expect(0)?;
    eprintln!("the page of {COPIES} backups in {:?}", begun.elapsed());
    ensure!(
        report.stdout.contains("2 of 2 databases need attention"),
        "none is proven by a restore\n{}",
        report.output()
    );
    let html = std::fs::read_to_string(page.path().join("index.html"))?;
    ensure!(html.contains(&ids[0]) && html.contains(&ids[1199]) && html.len() < 2 << 20, "{} bytes", html.len());
    // One of them, by its id and by its age, without all of this.
    for (args, expected) in [
        (&["show", &ids[700]][..], &ids[700]),
        (&["show", "latest", "--database", "app"], &ids[0]),
        (&["show", "latest", "--database", "app", "--before", "2024-01-02"], &ids[1198]),
        (&["show", "oldest", "--database", "app_staging"], &ids[1199]),
    ] {
        let shown = stage.run(args)?.args(["--json"]).run().await?.expect(0)?.json()?;
        ensure!(shown["backup"]["id"] == expected.as_str(), "{args:?}: {}", shown["backup"]["id"]);
    }
    let some = stage.listed(&["--database", "app_staging", "--older-than", "1h", "--kind", "scheduled"]).await?;
    ensure!(some.len() == COPIES / 2, "{}", some.len());
    Ok(())
}
