//! The monitor of a scheduled job hears of the start and of each way to end, in this order, and never holds a run up.

use crate::support::{
    Result, pg,
    run::{Ended, Savepoint},
    s3, scratch,
    slack::{Request, Slack},
};
use anyhow::{Context, ensure};
use std::time::{Duration, Instant};

/// The words behind the check's path, with one run id in all of them, and the last body.
fn told(requests: &[Request]) -> Result<(Vec<String>, String)> {
    let mut ids = Vec::new();
    let mut words = Vec::new();
    for (what, _) in requests {
        let rest = what.strip_prefix("POST /mArKeDping/nightly").with_context(|| format!("no ping: {what}"))?;
        let (word, query) = rest.split_once('?').with_context(|| format!("no query: {what}"))?;
        words.push(if word.is_empty() { "ok".to_owned() } else { word.to_owned() });
        let id = query.strip_prefix("create=1&rid=").with_context(|| format!("another query: {what}"))?;
        ensure!(id.parse::<uuid::Uuid>().is_ok(), "no run id: {what}");
        ids.push(id.to_owned());
    }
    ids.dedup();
    ensure!(ids.len() <= 1, "one run, one id: {requests:?}");
    Ok((words, requests.last().map(|(_, body)| body.clone()).unwrap_or_default()))
}

fn silent_about_it(ended: &Ended) -> Result {
    ensure!(!ended.output().contains("mArKeD"), "a secret: {}", ended.output());
    Ok(())
}

async fn backup(db: &str) -> Result<(&'static pg::Server, Savepoint, tempfile::TempDir)> {
    let server = pg::server(17).await?;
    server.create_db(db, "").await?;
    server.psql(db, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS id").await?;
    let dir = scratch()?;
    let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(&dir.path().join("backups"));
    Ok((server, run, dir))
}

#[tokio::test]
async fn start_and_success() -> Result {
    let monitor = Slack::start([]).await?;
    let (_, run, _dir) = backup("it_beat_green").await?;
    let ended = run.env("SAVEPOINT_HEARTBEAT_URL", &monitor.ping_url()).run().await?.expect(0)?;
    let (words, body) = told(&monitor.requests())?;
    ensure!(words == ["/start", "ok"], "{words:?}");
    ensure!(body.contains("it_beat_green"), "{body}");
    silent_about_it(&ended)
}

#[tokio::test]
async fn a_monitor_that_is_busy_is_asked_again_and_a_dry_run_is_no_backup() -> Result {
    let monitor = Slack::start([(200, None), (503, None), (429, Some(0))]).await?;
    let (server, run, dir) = backup("it_beat_busy").await?;
    run.env("SAVEPOINT_HEARTBEAT_URL", &monitor.ping_url()).run().await?.expect(0)?;
    ensure!(told(&monitor.requests())?.0 == ["/start", "ok", "ok", "ok"], "{:?}", monitor.requests());

    let quiet = Slack::start([]).await?;
    for extra in [vec!["--dry-run"], vec!["--dry-run", "--jobs", "none"]] {
        let run = Savepoint::backup(&server.url("it_beat_busy"), &server.bin)?.to_folder(dir.path()).args(extra);
        run.env("SAVEPOINT_HEARTBEAT_URL", &quiet.ping_url()).run().await?;
    }
    ensure!(quiet.requests().is_empty(), "{:?}", quiet.requests());
    Ok(())
}

#[tokio::test]
async fn start_and_failure() -> Result {
    let monitor = Slack::start([]).await?;
    let (server, ..) = backup("it_beat_red").await?;
    let dir = scratch()?;
    let place = dir.path().join("new/backups");
    let refused = Savepoint::backup(&server.url("it_beat_no_such_database"), &server.bin)?.to_folder(&place);
    let ended = refused.env("SAVEPOINT_HEARTBEAT_URL", &monitor.ping_url()).run().await?.expect(1)?;
    let (words, body) = told(&monitor.requests())?;
    ensure!(words == ["/start", "/fail"], "{words:?}");
    ensure!(body.contains("it_beat_no_such_database") && body.contains("does not exist"), "{body}");
    silent_about_it(&ended)?;
    ensure!(!dir.path().join("new").exists(), "a first run that failed leaves no empty folder behind");
    Ok(())
}

#[tokio::test]
async fn wrong_usage_is_a_failure_too() -> Result {
    for (args, set_by) in [
        (vec!["backup", "--jobs", "many", "--destination", "./x"], "SAVEPOINT_HEARTBEAT_URL"),
        (vec!["backup", "--whereto", "./x"], "SAVEPOINT_HEARTBEAT_URL"),
        (vec!["prune", "--keep-last", "some", "--destination", "./x"], "SAVEPOINT_HEARTBEAT_URL"),
        (vec!["action"], "INPUT_HEARTBEAT-URL"),
        (vec!["action", "--command", "copy"], "INPUT_HEARTBEAT-URL"),
        (vec!["verify"], ""),
    ] {
        let monitor = Slack::start([]).await?;
        let run = Savepoint::new(args.clone())?;
        let run = match set_by {
            "" => run.args(["--heartbeat-url", &monitor.ping_url(), "--no-such-option"]),
            name => run.env(name, &monitor.ping_url()),
        };
        let ended = run.run().await?.expect(2)?;
        let (words, body) = told(&monitor.requests())?;
        ensure!(words == ["/fail"], "{args:?}: {words:?}");
        ensure!(body.contains("error: option") || body == "wrong usage", "{body}");
        if args[0] != "action" {
            silent_about_it(&ended)?;
        }
    }
    // A list is nothing that a monitor waits for.
    let monitor = Slack::start([]).await?;
    Savepoint::new(["list"])?.env("SAVEPOINT_HEARTBEAT_URL", &monitor.ping_url()).run().await?.expect(2)?;
    ensure!(monitor.requests().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_interrupt_is_a_failure_told_at_once() -> Result {
    let monitor = Slack::start([]).await?;
    let (_, run, _dir) = backup("it_beat_interrupted").await?;
    let run = run.env("SAVEPOINT_HEARTBEAT_URL", &monitor.ping_url()).spawn()?;
    run.descendant("initdb").await?;
    let begun = Instant::now();
    run.signal(rustix::process::Signal::TERM)?;
    let ended = run.wait().await?.expect(1)?;
    ensure!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let (words, body) = told(&monitor.requests())?;
    ensure!(words == ["/start", "/fail"], "{words:?}");
    ensure!(body.contains("interrupted"), "{body}");
    silent_about_it(&ended)
}

#[tokio::test]
async fn a_monitor_that_cannot_be_reached_is_a_warning() -> Result {
    // One that takes connections and never answers, and one that says no, with 200 as healthchecks.io does.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0")?;
    let (_, run, _dir) = backup("it_beat_deaf").await?;
    let begun = Instant::now();
    let url = format!("http://{}/mArKeDping", deaf.local_addr()?);
    let ended = run.args(["--json"]).env("SAVEPOINT_HEARTBEAT_URL", &url).run().await?.expect(0)?;
    let took = begun.elapsed();
    let warnings = ended.json()?["warnings"].to_string();
    ensure!(warnings.contains("the heartbeat's monitor"), "{warnings}");
    ensure!(took < Duration::from_secs(60), "{took:?}");
    silent_about_it(&ended)?;

    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let monitor = Slack::start([(404, None), (410, None)]).await?;
    let server = pg::server(17).await?;
    let run = Savepoint::backup(&server.url("it_beat_deaf"), &server.bin)?.to_s3(&s3.endpoint, &bucket, "x");
    let ended = run.args(["--json"]).env("SAVEPOINT_HEARTBEAT_URL", &monitor.ping_url()).run().await?.expect(0)?;
    let warnings = ended.json()?["warnings"].to_string();
    ensure!(warnings.contains("the heartbeat's monitor refused it: 410"), "{warnings}");
    ensure!(told(&monitor.requests())?.0 == ["/start", "ok"], "a refusal is final");
    silent_about_it(&ended)
}

/// A gate reads `verified`, and people the annotation and the summary, also when nothing was tried.
#[tokio::test]
async fn wrong_usage_in_an_action_is_told_where_it_is_looked_for() -> Result {
    let dir = scratch()?;
    let (output, summary) = (dir.path().join("output"), dir.path().join("summary"));
    for (input, value, option) in [("INPUT_COMMAND", "undo", "option command"), ("INPUT_JOBS", "many", "option jobs")] {
        for file in [&output, &summary] {
            std::fs::write(file, "")?;
        }
        let ended = Savepoint::new(["action"])?
            .env(input, value)
            .env("INPUT_DATABASE-URL", "postgresql://u:mArKeDpass@127.0.0.1/app")
            .env("INPUT_DESTINATION", "./backups")
            .env("GITHUB_OUTPUT", &output.display().to_string())
            .env("GITHUB_STEP_SUMMARY", &summary.display().to_string())
            .run()
            .await?
            .expect(2)?;
        let lines: Vec<&str> = ended.stdout.lines().collect();
        let masks = lines.iter().take_while(|l| l.starts_with("::add-mask::")).count();
        ensure!(masks > 0 && lines[masks..].iter().all(|l| !l.contains("mArKeD")), "{}", ended.stdout);
        let annotation = lines.iter().find(|l| l.starts_with("::error title=savepoint::")).context("no annotation")?;
        ensure!(
            annotation.contains(option) && annotation.contains(value) && annotation.contains("hint: "),
            "{annotation}"
        );
        let output = std::fs::read_to_string(&output)?;
        let mut written = output.lines();
        ensure!(
            written.next().is_some_and(|l| l.starts_with("verified<<")) && written.next() == Some("false"),
            "{output}"
        );
        let summary = std::fs::read_to_string(&summary)?;
        ensure!(summary.contains("failed") && summary.contains(option) && summary.contains(value), "{summary}");
    }
    Ok(())
}
