//! What is told of runs in the light of those before, and the status page: by real backups, failures and alerts.

use crate::support::{
    Result,
    pg::Server,
    run::{Ended, Savepoint},
    s3::s3,
    scratch,
    slack::Slack,
};
use anyhow::{Context, ensure};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

const MAJOR: u32 = 17;

/// A restore of it takes long enough for one look at what it uses.
const SLOW: &str = "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.05); RETURN $1; END $$;
    CREATE TABLE s AS SELECT g FROM generate_series(1, 80) g; CREATE INDEX ON s (public.slow(g))";

/// A server with one small database, and a folder for its backups.
struct Stage {
    server: Server,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Result<Stage> {
        let server = Server::start(MAJOR, "").await?;
        server.create_db("app", "").await?;
        server.psql("app", "CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 1000) g").await?;
        Ok(Stage { server, folder: scratch()? })
    }

    fn backup(&self, args: &[&str]) -> Result<Savepoint> {
        Ok(Savepoint::backup(&self.server.url("app"), &self.server.bin)?
            .to_folder(self.folder.path())
            .args(args.to_vec()))
    }

    /// One that fails.
    async fn fails(&self, args: &[&str]) -> Result<Ended> {
        // Moments are told apart by the second.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        self.backup(args)?.args(["--tables", "no_such_table"]).run().await?.expect(1)
    }

    /// One that is proven.
    async fn works(&self, args: &[&str]) -> Result<Ended> {
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        self.backup(args)?.run().await?.expect(0)
    }

    fn records(&self) -> Result<Vec<Value>> {
        let Ok(folder) = fs::read_dir(self.folder.path().join("app/failures")) else { return Ok(Vec::new()) };
        let mut files: Vec<PathBuf> = folder.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        files.sort();
        files.iter().map(|file| Ok(serde_json::from_slice(&fs::read(file)?)?)).collect()
    }

    async fn report(&self, args: &[&str]) -> Result<Ended> {
        Savepoint::new(["report"])?.to_folder(self.folder.path()).args(args.to_vec()).run().await?.expect(0)
    }
}

/// Who waits for news gets it once: the first failure, and the end of it.
#[tokio::test]
async fn a_failure_and_its_end_are_told_once_each() -> Result {
    let stage = Stage::new().await?;
    let (change, failure) = (Slack::start([]).await?, Slack::start([]).await?);
    let (change_url, failure_url) = (change.url(), failure.url());
    let on_change = ["--notify-on", "change", "--webhook-url", &change_url];
    let on_failure = ["--notify-on", "failure", "--webhook-url", &failure_url];
    let told = |slack: &Slack| -> Result<Vec<(String, Value)>> {
        let of = |body: &String| Ok(serde_json::from_str::<Value>(body)?);
        slack.bodies().iter().map(|body| of(body).map(|v| (v["outcome"].to_string(), v))).collect()
    };

    // Where nobody is told, nothing is recorded unless asked for.
    stage.fails(&[]).await?;
    ensure!(stage.records()?.is_empty(), "{:?}", stage.records());
    stage.works(&on_change).await?;
    ensure!(change.bodies().is_empty(), "good as before is no news: {:?}", change.bodies());
    stage.fails(&on_change).await?;
    stage.fails(&on_change).await?;
    stage.fails(&on_failure).await?;
    let (to_change, to_failure) = (told(&change)?, told(&failure)?);
    ensure!(to_change.len() == 1 && to_failure.len() == 1, "{to_change:?} {to_failure:?}");
    let (_, third) = &to_failure[0];
    ensure!(third["past"]["failing"]["since"]["runs"] == 2, "{third:#}");
    let last = third["past"]["last_proven"]["last"]["id"].as_str().context("the last proven backup")?;
    ensure!(stage.folder.path().join("app").exists() && last.contains("-manual-"), "{last}");
    let records = stage.records()?;
    ensure!(records.len() == 3, "{records:#?}");
    for record in &records {
        ensure!(record["database"] == "app" && record["kind"] == "manual" && record["exit_code"] == 1, "{record:#}");
        ensure!(record["phase"] == "dump", "{record:#}");
        ensure!(record["message"].as_str().is_some_and(|m| m.contains("no_such_table")), "{record:#}");
    }

    // The end of it is told to both, and the next one to nobody.
    let ended = stage.works(&on_failure).await?;
    ensure!(ended.stdout.contains("recovered after 3 failed runs"), "{}", ended.output());
    ensure!(told(&failure)?.len() == 2, "{:?}", told(&failure)?);
    stage.works(&on_failure).await?;
    stage.works(&on_change).await?;
    ensure!(told(&failure)?.len() == 2 && told(&change)?.len() == 1);
    Ok(())
}

/// Where names are hidden, a record of a failure hides them as well; and what fails in the proof is one.
#[tokio::test]
async fn a_record_of_a_failure_says_no_more_than_it_may() -> Result {
    let stage = Stage::new().await?;
    let keys = scratch()?;
    let key = crate::support::keys::age_key(keys.path(), "key")?;
    let hidden = ["--record-failures", "--encrypt-to", &key.public, "--encrypt-manifest"];
    stage.fails(&hidden).await?;
    let records = stage.records()?;
    ensure!(records.len() == 1 && records[0].get("message").is_none(), "{records:#?}");
    ensure!(!records[0].to_string().contains("no_such_table"), "{records:#?}");

    // Its own backup is stored, and not proven.
    stage.server.psql("app", SLOW).await?;
    let ended = stage.backup(&["--record-failures", "--drill-limits", "disk=1MB"])?.run().await?.expect(3)?;
    let records = stage.records()?;
    let id = records.last().and_then(|record| record["backup_id"].as_str()).context("the id")?;
    ensure!(ended.stdout.contains(id), "{id}\n{}", ended.output());
    Ok(())
}

/// A destination that takes nothing remembers nothing: people are told of each failure, and that it left no record.
#[tokio::test]
async fn a_failure_that_cannot_be_recorded_is_told_all_the_same() -> Result {
    let stage = Stage::new().await?;
    let (s3, slack) = (s3().await?, Slack::start([]).await?);
    let bucket = s3.bucket().await?;
    for told in 1..=2 {
        let run = Savepoint::backup(&stage.server.url("app"), &stage.server.bin)?
            .to_s3(&s3.endpoint, &bucket, "p")
            .env("AWS_SECRET_ACCESS_KEY", "not-the-key")
            .args(["--notify-on", "change", "--webhook-url", &slack.url()]);
        let ended = run.run().await?.expect(1)?;
        ensure!(ended.output().contains("the failure is not recorded in the destination"), "{}", ended.output());
        ensure!(slack.bodies().len() == told, "{:?}", slack.bodies());
    }
    ensure!(s3.list(&bucket).await?.is_empty());
    Ok(())
}

/// A line of the metrics.
fn metric(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name} in\n{text}"))?;
    Ok(line.rsplit(' ').next().context("a value")?.parse()?)
}

/// The page, the object and the metrics say the same of the same folder, before and after things went wrong.
#[tokio::test]
async fn a_report_says_how_each_database_stands() -> Result {
    let stage = Stage::new().await?;
    let json = async |args: &[&str]| -> Result<Value> {
        let mut all = vec!["--format", "json"];
        all.extend(args);
        Ok(serde_json::from_str(&stage.report(&all).await?.stdout)?)
    };
    let empty = json(&[]).await?;
    ensure!(empty["databases"].as_array().is_some_and(Vec::is_empty), "{empty:#}");

    stage.fails(&["--record-failures"]).await?;
    let never = json(&[]).await?;
    ensure!(never["databases"][0]["standing"] == "unproven", "{never:#}");
    stage.works(&[]).await?;
    let good = json(&["--rpo", "1h", "--rto", "10m", "--price-per-gib", "0.02 EUR"]).await?;
    let app = &good["databases"][0];
    ensure!(app["standing"] == "good" && app["name"] == "app" && app["backups"] == 1, "{good:#}");
    ensure!(app["points"][0]["rows"] == 1000 && app["audit"][0]["proof"] == "passed", "{app:#}");
    ensure!(app["failures"][0]["phase"].is_string() && app["cost"].as_f64().is_some_and(|cost| cost > 0.0), "{app:#}");
    let today = app["days"].as_array().and_then(|days| days.last()).context("today")?;
    ensure!(today["proven"] == 1 && today["failed"] == 1, "{today:#}");
    stage.report(&["--rpo", "1h", "--require-good"]).await?;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let late = json(&["--rpo", "1s"]).await?;
    ensure!(late["databases"][0]["standing"] == "late", "{late:#}");
    // A newer one that does not hold what its manifest says: an older one that does is no reason to be at ease.
    let newer = stage.works(&["--json"]).await?.json()?;
    let newer = crate::support::find(stage.folder.path(), newer["backup"]["id"].as_str().context("an id")?)?;
    let rows = fs::read_dir(newer.join("archive"))?.filter_map(|e| Some(e.ok()?.path()));
    let rows = rows.into_iter().find(|path| !path.ends_with("toc.dat")).context("a file of rows")?;
    let mut bytes = fs::read(&rows)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&rows, bytes)?;
    let verify = Savepoint::new(["verify", "latest", "--verify", "archive"])?.to_folder(stage.folder.path());
    verify.run().await?.expect(3)?;
    let damaged = json(&["--rpo", "1h"]).await?;
    ensure!(damaged["databases"][0]["standing"] == "damaged", "{damaged:#}");
    ensure!(damaged["databases"][0]["says"].as_str().is_some_and(|s| s.contains("its proof failed")), "{damaged:#}");
    let asked = Savepoint::new(["report", "--rpo", "1h", "--require-good"])?.to_folder(stage.folder.path());
    asked.run().await?.expect(4)?;
    fs::remove_dir_all(&newer)?;
    stage.fails(&["--record-failures"]).await?;
    let failing = json(&[]).await?;
    ensure!(failing["databases"][0]["standing"] == "failing", "{failing:#}");
    // A backup that lost a file is proven no longer.
    let file = crate::support::find(stage.folder.path(), "toc.dat")?;
    fs::remove_file(&file)?;
    let damaged = json(&[]).await?;
    let app = &damaged["databases"][0];
    ensure!(app["standing"] == "unproven" && app["audit"][0]["proof"] == "damaged", "{damaged:#}");
    ensure!(damaged["warnings"].as_array().is_some_and(|w| !w.is_empty()), "{damaged:#}");

    // Who asks for it is told by the exit code, with the report all the same.
    let asked = Savepoint::new(["report", "--format", "json", "--require-good"])?.to_folder(stage.folder.path());
    let asked = asked.run().await?.expect(4)?;
    ensure!(
        serde_json::from_str::<Value>(&asked.stdout)?["databases"][0]["standing"] == "unproven",
        "{}",
        asked.output()
    );

    let metrics = stage.report(&["--format", "prometheus"]).await?.stdout;
    ensure!(metric(&metrics, "savepoint_good{database=\"app\"}")? == 0.0, "{metrics}");
    ensure!(metric(&metrics, "savepoint_failed_runs_since_backup{database=\"app\"}")? == 1.0, "{metrics}");
    ensure!(metrics.lines().all(|l| l.starts_with("# ") || l.starts_with("savepoint_")), "{metrics}");
    let open = stage.report(&["--format", "openmetrics"]).await?.stdout;
    ensure!(open.ends_with("# EOF\n"), "{open}");
    Ok(())
}

/// The page stands alone, in a folder and in a bucket, where a browser takes it for a page.
#[tokio::test]
async fn the_page_is_one_file_wherever_it_is_written() -> Result {
    let stage = Stage::new().await?;
    stage.works(&[]).await?;
    let to = scratch()?;
    let new = to.path().join("new");
    let written = stage.report(&["--to", &new.display().to_string()]).await?;
    ensure!(written.stdout.contains("index.html"), "{}", written.output());
    let page = fs::read_to_string(new.join("index.html"))?;
    alone(&page)?;
    // The step that publishes it is another user's.
    let mode = |path: &std::path::Path| -> Result<u32> { Ok(fs::metadata(path)?.permissions().mode() & 0o777) };
    ensure!(mode(&new.join("index.html"))? == 0o644 && mode(&new)? == 0o755);
    // Prometheus' text folder wants whole files only, under the name that it looks for.
    let metrics = stage.report(&["--format", "prometheus", "--to", &to.path().display().to_string()]).await?;
    ensure!(to.path().join("savepoint.prom").exists(), "{}", metrics.output());

    let s3 = s3().await?;
    let bucket = s3.bucket().await?;
    let ended = Savepoint::new(["report", "--to", &format!("s3://{bucket}/status"), "--s3-endpoint", &s3.endpoint])?
        .to_folder(stage.folder.path())
        .env("AWS_ACCESS_KEY_ID", crate::support::s3::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", crate::support::s3::SECRET_KEY)
        .run()
        .await?
        .expect(0)?;
    let object = s3.client().get_object().bucket(&bucket).key("status/index.html").send().await?;
    ensure!(
        object.content_type() == Some("text/html; charset=utf-8"),
        "{:?}\n{}",
        object.content_type(),
        ended.output()
    );
    Ok(())
}

/// Nothing in it comes from elsewhere or runs.
fn alone(page: &str) -> Result {
    for word in ["<script", "src=\"http", "rel=\"stylesheet", "href=\"http:", "@import", "<iframe", "url("] {
        ensure!(!page.contains(word), "{word}");
    }
    ensure!(
        page.starts_with("<!doctype html>") || page.starts_with("<!DOCTYPE html>"),
        "{}",
        &page[..60.min(page.len())]
    );
    ensure!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme"));
    Ok(())
}

/// What lies beside the backups disturbs no other verb.
#[tokio::test]
async fn other_verbs_pass_failures_by() -> Result {
    let stage = Stage::new().await?;
    stage.fails(&["--record-failures"]).await?;
    stage.works(&[]).await?;
    let run =
        |args: &[&str]| -> Result<Savepoint> { Ok(Savepoint::new(args.to_vec())?.to_folder(stage.folder.path())) };
    let list = run(&["list", "--json"])?.run().await?.expect(0)?.json()?;
    ensure!(
        list["backups"].as_array().map(Vec::len) == Some(1) && list["unfinished"].as_array().is_some_and(Vec::is_empty)
    );
    run(&["show", "latest"])?.run().await?.expect(0)?;
    run(&["prune", "--keep-last", "1"])?.run().await?.expect(0)?;
    ensure!(stage.records()?.len() == 1);
    Ok(())
}
