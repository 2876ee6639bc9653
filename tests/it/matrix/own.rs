//! Faults of the run itself, and of whom it tells.

use super::{Case, Left, Row, folder, row};
use crate::support::{Result, run::Ended, slack::Slack};
use anyhow::ensure;
use rustix::process::Signal;
use std::{fs, os::unix::fs::PermissionsExt};
use tokio::net::TcpListener;

/// Beside the usual table: what takes its time to restore and to compare.
const SLOW: &str = "DO $$ BEGIN FOR i IN 1..15 LOOP EXECUTE format('CREATE TABLE s%s (id int PRIMARY KEY, v text UNIQUE)', i); END LOOP; \
    END $$; INSERT INTO s1 SELECT g, md5(g::text) FROM generate_series(1, 1000) g";

/// A signal when it has said these words.
async fn signalled(case: &Case, signal: Signal, words: &str) -> Result<Ended> {
    // Read slowly, and with indexes to be made, so that each phase lasts; nobody waits for the end of a dump that is interrupted.
    let rate = if matches!(words, "dump begins" | "restore begins") { "5K" } else { "40K" };
    case.server.psql(&case.db, SLOW).await?;
    case.usual()?.args(["--max-rate", rate]).when_it_says(words, async |run| run.signal(signal)).await
}

/// Killed when it has said these words; what the next run on this machine comes to.
async fn killed(case: &Case, words: &str) -> Result<Ended> {
    case.server.psql(&case.db, SLOW).await?;
    let run = case.usual()?.args(["--max-rate", "40K"]);
    let scratch = run.scratch();
    let ended = run.when_it_says(words, async |run| run.signal(Signal::KILL)).await?;
    ensure!(ended.code.is_none(), "it ended before the signal\n{}", ended.output());
    let left = case.left().await?;
    ensure!(matches!(left, Left::Nothing | Left::Told | Left::Unproven), "{left:?}");
    case.usual()?.same_scratch(&scratch).run().await
}

/// Slack takes the connection and says nothing.
async fn silent_slack(case: &Case) -> Result<Ended> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/services/T/B/x", listener.local_addr()?);
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let ended = case.usual()?.env("SAVEPOINT_SLACK_WEBHOOK_URL", &url).run().await;
    silent.abort();
    ended
}

async fn told(case: &Case, answers: Vec<(u16, Option<u32>)>) -> Result<Ended> {
    let slack = Slack::start(answers).await?;
    let ended = case.usual()?.env("SAVEPOINT_SLACK_WEBHOOK_URL", &slack.url()).run().await?;
    ensure!(!slack.requests().is_empty(), "Slack was not told\n{}", ended.output());
    Ok(ended)
}

pub fn rows() -> Vec<Row> {
    let fine = (0, Left::Proven);
    let mut rows = vec![
        row("Slack answers 500", "notify", fine, "Slack", "", |case| Box::pin(told(case, vec![(500, None); 20]))),
        row("Slack redirects", "notify", fine, "Slack", "", |case| Box::pin(told(case, vec![(302, None); 20]))),
        row("Slack says 404", "notify", fine, "Slack", "", |case| Box::pin(told(case, vec![(404, None); 20]))),
        row("Slack says 429 once", "notify", fine, "passed, all equal", "", |case| {
            Box::pin(told(case, vec![(429, Some(1))]))
        }),
        row("Slack says 429 for a minute", "notify", fine, "Slack", "", |case| {
            Box::pin(told(case, vec![(429, Some(60)); 20]))
        }),
        row("Slack hangs", "notify", fine, "Slack", "", |case| Box::pin(silent_slack(case))),
        row("outputs cannot be written", "report", fine, "warning", "", |case| {
            Box::pin(async move {
                let dir = folder()?;
                fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
                let path = dir.path().join("none/outputs").display().to_string();
                in_action(case)?.env("GITHUB_OUTPUT", &path).run().await
            })
        }),
        row("the summary cannot be written", "report", fine, "warning", "", |case| {
            Box::pin(async move { in_action(case)?.env("GITHUB_STEP_SUMMARY", "/no/such/folder/summary").run().await })
        }),
    ];
    for (signal, fault) in [
        (Signal::TERM, "it is ended by TERM"),
        (Signal::INT, "it is ended by INT"),
        (Signal::HUP, "its terminal goes away (HUP)"),
    ] {
        for (phase, words, left) in [
            ("preflight", "preflight begins", Left::Nothing),
            ("plan", "plan begins", Left::Nothing),
            ("dump", "dump begins", Left::Nothing),
            ("dump, while it is restored", "restore begins", Left::Nothing),
            ("restore", "commit done", Left::Unproven),
            ("compare", "compare begins", Left::Unproven),
        ] {
            let stored = left == Left::Unproven;
            let (code, cure) = if stored { (3, "stored, but not proven") } else { (1, "run it again") };
            rows.push(row(fault, phase, (code, left), "interrupted by a signal", cure, move |case| {
                Box::pin(signalled(case, signal, words))
            }));
        }
    }
    for (phase, words) in [
        ("plan; then the next run", "plan begins"),
        ("dump; then the next run", "dump begins"),
        ("commit; then the next run", "commit done"),
        ("compare; then the next run", "compare begins"),
    ] {
        rows.push(row("it is killed (KILL)", phase, fine, "passed, all equal", "", move |case| {
            Box::pin(killed(case, words))
        }));
    }
    rows
}

/// The usual backup, as the action runs it.
fn in_action(case: &Case) -> Result<crate::support::run::Savepoint> {
    let run = crate::support::run::Savepoint::new(["action"])?;
    Ok(run
        .env("GITHUB_ACTIONS", "true")
        .env("INPUT_COMMAND", "backup")
        .env("INPUT_DATABASE-URL", &case.server.url(&case.db))
        .env("INPUT_PG-BIN-DIR", &case.server.bin.display().to_string())
        .env("INPUT_DESTINATION", &format!("s3://{}/p", case.bucket))
        .env("INPUT_S3-ENDPOINT", &case.s3.endpoint)
        .env("AWS_ACCESS_KEY_ID", crate::support::s3::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", crate::support::s3::SECRET_KEY))
}
