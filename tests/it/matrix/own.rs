//! Faults of this machine, of the run itself, and of whom it tells.

use super::{Case, Left, Row, Run, folder, write};
use crate::support::{
    Result,
    run::{Ended, Running},
    slack::Slack,
};
use anyhow::ensure;
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

fn row(
    fault: &'static str,
    phase: &'static str,
    (code, left): (i32, Left),
    says: &'static str,
    cure: &'static str,
    run: impl for<'a> Fn(&'a Case) -> Run<'a> + Send + Sync + 'static,
) -> Row {
    Row { fault, phase, code, says, cure, left, run: Box::new(run) }
}

/// A signal when its log holds these words.
async fn signalled(case: &Case, signal: Signal, words: &str) -> Result<Ended> {
    let log = folder()?;
    let path = log.path().join("stderr");
    let redirect = format!("exec \"$0\" \"$@\" 2>{}", path.display());
    // Read slowly, so that each phase lasts.
    let run: Running = case.usual()?.args(["--max-rate", "20K"]).under(&["/bin/sh", "-c", &redirect]).spawn()?;
    let end = Instant::now() + Duration::from_secs(30);
    while !fs::read_to_string(&path).unwrap_or_default().contains(words) {
        ensure!(Instant::now() < end, "it never said {words:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    run.signal(signal)?;
    let mut ended = run.wait().await?;
    ended.stderr = fs::read_to_string(&path)?;
    Ok(ended)
}

async fn told(case: &Case, answers: Vec<(u16, Option<u32>)>) -> Result<Ended> {
    let slack = Slack::start(answers).await?;
    let ended = case.usual()?.env("SAVEPOINT_SLACK_WEBHOOK_URL", &slack.url()).run().await?;
    ensure!(!slack.requests().is_empty(), "Slack was not told\n{}", ended.output());
    Ok(ended)
}

pub fn rows() -> Vec<Row> {
    let nothing = (1, Left::Nothing);
    let fine = (0, Left::Proven);
    let mut rows = vec![
        row("40 open files", "preflight", nothing, "files may be open at a time", "ulimit -n", |case| {
            Box::pin(
                async move { case.usual()?.under(&["/bin/sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""]).run().await },
            )
        }),
        row(
            "no PostgreSQL programs",
            "preflight",
            nothing,
            "are not installed",
            "apt-get install postgresql",
            |case| {
                Box::pin(async move {
                    let none = folder()?;
                    let run = case.usual()?.args(["--pg-bin-dir", &none.path().display().to_string()]);
                    run.without("--pg-bin-dir").run().await
                })
            },
        ),
        row(
            "the scratch folder is a file",
            "preflight",
            nothing,
            "the scratch folder",
            "--scratch-dir names another folder",
            |case| {
                Box::pin(async move {
                    let dir = folder()?;
                    let file = dir.path().join("file");
                    write(&file, "")?;
                    case.usual()?.args(["--scratch-dir", &file.display().to_string()]).run().await
                })
            },
        ),
        row(
            "the scratch folder does not exist",
            "preflight",
            nothing,
            "the folder",
            "--scratch-dir names another folder",
            |case| Box::pin(async move { case.usual()?.args(["--scratch-dir", "/no/such/folder"]).run().await }),
        ),
        row("Slack answers 500", "notify", fine, "Slack", "", |case| Box::pin(told(case, vec![(500, None); 20]))),
        row("Slack redirects", "notify", fine, "Slack", "", |case| Box::pin(told(case, vec![(302, None); 20]))),
        row("Slack says 404", "notify", fine, "Slack", "", |case| Box::pin(told(case, vec![(404, None); 20]))),
        row("Slack says 429 once", "notify", fine, "passed, all equal", "", |case| {
            Box::pin(told(case, vec![(429, Some(1))]))
        }),
        row("Slack says 429 for a minute", "notify", fine, "Slack", "", |case| {
            Box::pin(told(case, vec![(429, Some(60)); 20]))
        }),
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
    for (signal, name) in [(Signal::TERM, "TERM"), (Signal::INT, "INT")] {
        let fault: &'static str = if name == "TERM" { "it is ended by TERM" } else { "it is ended by INT" };
        for (phase, words, left) in [("plan", "plan begins", Left::Nothing), ("dump", "dump begins", Left::Nothing)] {
            rows.push(row(fault, phase, (1, left), "interrupted by a signal", "run it again", move |case| {
                Box::pin(signalled(case, signal, words))
            }));
        }
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
