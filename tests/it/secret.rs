//! No secret on any argv, in any line, file, object or message. Each secret of the tests contains [`MARK`].

use crate::support::{
    Result, pg,
    run::{CommandLines, Ended, Savepoint},
    s3, scratch, slack,
};
use anyhow::ensure;

const MARK: &str = "mArKeD";

async fn source(db: &str) -> Result<(&'static pg::Server, String)> {
    let server = pg::server(17).await?;
    server.create_db(db, "").await?;
    // Over stdin: an argv of ours would be found as well.
    let role = format!(
        "DO $$ BEGIN CREATE ROLE marked LOGIN SUPERUSER PASSWORD '{}'; EXCEPTION WHEN duplicate_object OR unique_violation \
         THEN NULL; END $$; CREATE TABLE t AS SELECT generate_series(1, 1000) AS id",
        pg::MARKED_PASSWORD
    );
    server.psql(db, &role).await?;
    let url = server.url_at(server.port, &format!("marked:{}", pg::encode(pg::MARKED_PASSWORD)), db);
    Ok((server, url))
}

fn clean(what: &str, text: &str) -> Result {
    let found = text.lines().find(|l| l.contains(MARK) && !l.trim_start().starts_with("::add-mask::"));
    ensure!(found.is_none(), "a secret in {what}: {found:?}");
    Ok(())
}

fn printed(ended: &Ended) -> Result {
    clean("stdout", &ended.stdout)?;
    clean("stderr", &ended.stderr)
}

#[tokio::test]
async fn no_secret_anywhere() -> Result {
    let (server, url) = source("it_secrets").await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let slack = slack::Slack::start([(500, None)]).await?;
    for extra in [vec!["-v"], vec!["--json"]] {
        let lines = CommandLines::watch();
        let ended = Savepoint::backup(&url, &server.bin)?
            .to_s3(&s3.endpoint, &bucket, "x")
            .args(extra)
            .env("SAVEPOINT_SLACK_WEBHOOK_URL", &slack.url())
            .run()
            .await?;
        for line in lines.stop() {
            clean("an argv", &line)?;
        }
        printed(&ended.expect(0)?)?;
    }
    ensure!(slack.bodies().len() >= 3, "Slack was told twice, and once more after the refusal");
    for body in slack.bodies() {
        clean("a Slack message", &body)?;
    }
    for object in s3.list(&bucket).await? {
        clean(&object.key, &object.key)?;
        clean(&object.key, &String::from_utf8_lossy(&s3.get(&bucket, &object.key).await?))?;
    }
    Ok(())
}

#[tokio::test]
async fn no_secret_in_actions() -> Result {
    let (server, url) = source("it_secrets_action").await?;
    let (files, store) = (scratch()?, scratch()?);
    let slack = slack::Slack::start([]).await?;
    let mut run = Savepoint::new(["action"])?
        .env("GITHUB_ACTIONS", "true")
        .env("INPUT_DATABASE-URL", &url)
        .env("INPUT_DESTINATION", &store.path().display().to_string())
        .env("INPUT_SLACK-WEBHOOK-URL", &slack.url())
        .env("INPUT_PG-BIN-DIR", &server.bin.display().to_string());
    let paths = ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV"].map(|name| (name, files.path().join(name)));
    for (name, path) in &paths {
        std::fs::write(path, "")?;
        run = run.env(name, &path.display().to_string());
    }
    let ended = run.run().await?.expect(0)?;
    let said = format!("{}\n{}", ended.stdout, ended.stderr);
    ensure!(said.contains("::add-mask::"), "nothing was masked\n{}", ended.output());
    let first = said.lines().position(|l| l.contains("::add-mask::"));
    ensure!(first.is_some());
    printed(&ended)?;
    for (name, path) in &paths {
        clean(name, &std::fs::read_to_string(path)?)?;
    }
    ensure!(std::fs::read_to_string(&paths[0].1)?.contains("verified"), "the outputs are written");
    slack.bodies().iter().try_for_each(|b| clean("a Slack message", b))
}

/// What fails says why, without the secret that failed.
#[tokio::test]
async fn no_secret_in_errors() -> Result {
    let (server, url) = source("it_secrets_errors").await?;
    let store = scratch()?;
    for bad in [
        url.replace("marked:", "marked:x"),
        url.replace(&pg::encode("it_secrets_errors"), "no_such_database"),
        url.replace(&server.port.to_string(), "1"),
        format!("{url}?no_such_parameter=1"),
        url.replace("postgresql://", "mysql://"),
        url.replace("127.0.0.1", "[::1"),
    ] {
        let ended = Savepoint::backup(&bad, &server.bin)?.to_folder(store.path()).args(["-v"]).run().await?;
        ensure!(matches!(ended.code, Some(1 | 2)), "{bad}: {}", ended.output());
        ensure!(!ended.stderr.trim().is_empty(), "an error without a word");
        printed(&ended)?;
        ended.left_nothing()?;
    }
    Ok(())
}
