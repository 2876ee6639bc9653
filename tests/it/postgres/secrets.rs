//! Passwords that are not percent-encoded: whatever is read into them, no piece of them is shown, on no argv, and in no server's log.

use crate::support::{
    Result,
    pg::Server,
    run::{CommandLines, Savepoint},
    scratch,
};
use anyhow::ensure;
use futures_util::{StreamExt, TryStreamExt, stream};

/// Stands in every password.
const MARK: &str = "Hunter2Mark";

/// What people have in passwords and forget to encode.
const SPECIAL: [&str; 17] = ["@", "/", ":", "?", "#", "%", "&", "=", " ", "'", "\"", "\\", "[", "]", ",", "+", "%zz"];

/// Connection strings around a password, to a server that knows no such role and logs all that it is told.
const AROUND: [&str; 4] = [
    "postgresql://u:{}@127.0.0.1:PORT/db",
    "postgres://u:{}@127.0.0.1:PORT/db?sslmode=disable&application_name=x",
    "host=127.0.0.1 port=PORT user=u password={} dbname=db",
    "\"postgresql://u:{}@127.0.0.1:PORT/db\"",
];

fn urls(port: u16) -> Vec<String> {
    let mut passwords = Vec::new();
    for one in SPECIAL {
        passwords.extend([format!("{one}{MARK}"), format!("x{one}{MARK}"), format!("{MARK}{one}y")]);
    }
    for (n, one) in SPECIAL.iter().enumerate() {
        let other = SPECIAL[(n * 7 + 3) % SPECIAL.len()];
        passwords.extend([format!("x{one}{MARK}{other}y"), format!("{one}{other}{MARK}"), format!("x@{MARK}{one}y")]);
        passwords.extend([format!("x@y/{MARK}{one}z"), format!("x@y?{MARK}{one}z=1"), format!("x@y:{MARK}{one}")]);
    }
    let around = AROUND.map(|around| around.replace("PORT", &port.to_string()));
    around.iter().flat_map(|around| passwords.iter().map(|p| around.replace("{}", p))).collect()
}

#[tokio::test]
async fn no_piece_of_a_password_is_shown() -> Result {
    let server = Server::start(17, "log_connections = on\nlog_disconnections = on\nlog_statement = all").await?;
    let urls = urls(server.port);
    let lines = CommandLines::watch();
    ensure!(urls.len() >= 600, "{}", urls.len());
    let files = scratch()?;
    let one = async |(n, url): (usize, String)| {
        let file = |what: &str| files.path().join(format!("{n}-{what}"));
        let stored = file("stored");
        std::fs::create_dir(&stored)?;
        // As a step of a workflow, in which everything is shown that can be, or by hand as JSON.
        let run =
            Savepoint::new(["check", "--pg-bin-dir", "/nonexistent", "--destination", &stored.display().to_string()])?
                .args(if n % 2 == 0 { vec!["--json"] } else { vec!["--verbose"] })
                .env("SAVEPOINT_DATABASE_URL", &url)
                .env("GITHUB_STEP_SUMMARY", &file("summary").display().to_string())
                .env("GITHUB_OUTPUT", &file("output").display().to_string());
        let ended = run.run().await?;
        ensure!(ended.code.is_some_and(|code| code != 0), "{url}: it passed\n{}", ended.output());
        let mut shown = ended.output();
        for name in ["summary", "output"] {
            shown += &std::fs::read_to_string(file(name)).unwrap_or_default();
        }
        ensure!(!shown.contains(MARK), "{url} shows its password:\n{shown}");
        std::fs::remove_dir_all(stored)?;
        Ok(())
    };
    stream::iter(urls.into_iter().enumerate()).map(one).buffer_unordered(4).try_collect::<Vec<()>>().await?;
    let line = lines.stop().into_iter().find(|line| line.contains(MARK));
    ensure!(line.is_none(), "on an argv: {line:?}");
    let log = std::fs::read_to_string(server.dir.join("log"))?;
    ensure!(log.contains("role \"u\" does not exist"), "no URL came to the server, so its log proves nothing\n{log}");
    let line = log.lines().find(|line| line.contains(MARK));
    ensure!(line.is_none(), "in the server's log: {line:?}");
    Ok(())
}
