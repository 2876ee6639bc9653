//! The fault matrix: what may go wrong around a backup, each for real; its exit code, what it says, and what is left.
//! `docs/troubleshooting.md` is made of the same rows. `MATRIX_ROUNDS=3` runs each three times, `MATRIX_ONLY=word` some of them.

mod machine;
mod own;
mod server;
mod source;
mod store;

use crate::{
    docs,
    support::{
        Result,
        pg::{self, Server},
        run::{Ended, Savepoint},
        s3, scratch,
    },
};
use anyhow::{Context, bail, ensure};
use futures_util::{StreamExt, stream};
use std::{
    fs,
    future::Future,
    path::Path,
    pin::Pin,
    time::{Duration, Instant},
};

const MAJOR: u32 = 17;

/// The table of each row's database.
const TABLE: &str = "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 1000) g";

/// How long a connection may be silent where one is made to be, and elsewhere, where a busy machine may be slow; and how long a run may
/// take: nothing waits without an end.
const STALL: &str = "3s";
const USUAL_STALL: &str = "20s";
const END: Duration = Duration::from_secs(90);
/// With all that a row does besides.
const HOPELESS: Duration = Duration::from_secs(150);

/// What lies in the destination behind the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// No object.
    Nothing,
    /// A backup without a proof that passed.
    Unproven,
    /// A backup and its proof.
    Proven,
    /// Objects without a manifest, which are told: they could not be removed.
    Told,
}

impl Left {
    fn words(self) -> &'static str {
        match self {
            Left::Nothing => "nothing",
            Left::Unproven => "the backup, unproven",
            Left::Proven => "the backup, proven",
            Left::Told => "objects without a manifest, which are no backup; the warning names them",
        }
    }
}

/// What is run, and where.
struct Case {
    server: &'static Server,
    /// A database of a small table and one of its own for each row.
    db: String,
    /// A bucket of its own.
    bucket: String,
    s3: &'static s3::S3,
}

type Run<'a> = Pin<Box<dyn Future<Output = Result<Ended>> + Send + 'a>>;

/// A fault, and what comes of it.
struct Row {
    fault: &'static str,
    /// When it happens.
    phase: &'static str,
    code: i32,
    /// Words of the message, and of its cure.
    says: &'static str,
    cure: &'static str,
    left: Left,
    run: Box<dyn for<'a> Fn(&'a Case) -> Run<'a> + Send + Sync>,
}

/// A row whose fault is made by this function.
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

fn parts() -> [(&'static str, Vec<Row>); 5] {
    [
        ("The database and the way to it", source::rows()),
        ("The database's server, and who else works there", server::rows()),
        ("The store", store::rows()),
        ("This machine", machine::rows()),
        ("The run itself, and whom it tells", own::rows()),
    ]
}

impl Case {
    async fn make(name: &str) -> Result<Self> {
        let (server, s3) = (pg::server(MAJOR).await?, s3::s3().await?);
        let db = format!("matrix_{name}");
        server.create_db(&db, "").await?;
        server.psql(&db, TABLE).await?;
        Ok(Case { server, db, bucket: s3.bucket().await?, s3 })
    }

    /// A backup into the bucket, by way of `endpoint`.
    fn backup(&self, url: &str, endpoint: &str) -> Result<Savepoint> {
        let run = Savepoint::backup(url, &self.server.bin)?.to_s3(endpoint, &self.bucket, "p");
        Ok(run.args(["--stall-timeout", USUAL_STALL]))
    }

    /// One that gives up soon.
    fn impatient(&self, url: &str, endpoint: &str) -> Result<Savepoint> {
        Ok(self.backup(url, endpoint)?.without("--stall-timeout").args(["--stall-timeout", STALL]))
    }

    /// The usual one.
    fn usual(&self) -> Result<Savepoint> {
        self.backup(&self.server.url(&self.db), &self.s3.endpoint)
    }

    /// What lies there now.
    async fn left(&self) -> Result<Left> {
        let keys: Vec<String> = self.s3.list(&self.bucket).await?.into_iter().map(|o| o.key).collect();
        let uploads = self.s3.uploads(&self.bucket).await?;
        if !keys.iter().any(|k| k.ends_with("/manifest.json")) {
            return Ok(if keys.is_empty() && uploads.is_empty() { Left::Nothing } else { Left::Told });
        }
        ensure!(uploads.is_empty(), "{uploads:?}");
        // Their names begin with their times.
        let Some(key) = keys.iter().filter(|k| k.contains("/proofs/")).max() else { return Ok(Left::Unproven) };
        let proof: serde_json::Value = serde_json::from_slice(&self.s3.get(&self.bucket, key).await?)?;
        Ok(if proof["passed"] == true { Left::Proven } else { Left::Unproven })
    }
}

async fn check(name: &str, row: &Row) -> Result {
    let case = Case::make(name).await?;
    let begun = Instant::now();
    let run = tokio::time::timeout(HOPELESS, (row.run)(&case)).await.context("it does not end")?;
    let ended = match run {
        Err(e) if e.is::<Skipped>() => {
            eprintln!("SKIPPED: {}, {}: {e}", row.fault, row.phase);
            return case.server.drop_db(&case.db).await;
        }
        ended => ended?,
    };
    let (output, took) = (ended.output(), begun.elapsed());
    ensure!(took < END, "it took {took:?}\n{output}");
    ensure!(ended.code == Some(row.code), "exit code {:?} in place of {}\n{output}", ended.code, row.code);
    // Long values are folded.
    let flat = output.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure!(flat.contains(row.says), "it does not say {:?}\n{output}", row.says);
    ensure!(flat.contains(row.cure), "it does not name the cure {:?}\n{output}", row.cure);
    ended.left_nothing().with_context(|| output.clone())?;
    let left = case.left().await?;
    if left != row.left {
        let (objects, uploads) = (case.s3.list(&case.bucket).await?, case.s3.uploads(&case.bucket).await?);
        bail!("left: {left:?} in place of {:?}: {objects:?} {uploads:?}\n{output}", row.left);
    }
    case.server.drop_db(&case.db).await
}

// What stands between a run and its servers must go on while a row waits for a server to end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_ends_as_written() -> Result {
    let rounds: usize = std::env::var("MATRIX_ROUNDS").ok().and_then(|r| r.parse().ok()).unwrap_or(1);
    let only = std::env::var("MATRIX_ONLY").unwrap_or_default();
    let mut all = Vec::new();
    let parts = parts();
    for (part, rows) in &parts {
        for (number, row) in rows.iter().enumerate() {
            let title = format!("{part}: {}, {}", row.fault, row.phase);
            if title.contains(&only) {
                all.push((format!("{}_{number}", part.len()), title, row));
            }
        }
    }
    let begun = Instant::now();
    let runs = all.iter().flat_map(|row| (0..rounds).map(move |round| (round, row)));
    let failures: Vec<String> = stream::iter(runs)
        .map(async |(round, (name, title, row))| {
            let failure = check(&format!("{name}_{round}"), row).await.err().map(|e| format!("=== {title}\n{e:#}"));
            failure.inspect(|failure| eprintln!("{failure}"))
        })
        .buffer_unordered(6)
        .filter_map(async |failure| failure)
        .collect()
        .await;
    let (rows, took) = (all.len(), begun.elapsed());
    eprintln!("fault matrix: {rows} rows, {rounds} rounds, {} failed, {took:.0?}", failures.len());
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

#[test]
fn troubleshooting_is_made_of_the_matrix() -> Result {
    let mut text = String::from(
        "# Troubleshooting\n\nWhat may go wrong around a backup, and what comes of it. Each row is a test that makes the fault for real\n\
         (`tests/it/matrix`), and this page is made of them. Exit codes: 1 failed, 2 wrong usage, 3 stored but its proof failed, 4 proven but a\n\
         later step failed. Nothing waits for longer than `stall-timeout` (60 s) without a byte or a sign of life, and `timeout` bounds a whole run.\n",
    );
    for (part, rows) in parts() {
        text += &format!(
            "\n## {part}\n\n| fault | when | exit code | it says | cure | what is left in the destination |\n|---|---|---|---|---|---|\n"
        );
        for row in rows {
            let code = |t: &str| if t.is_empty() { String::new() } else { format!("`{}`", t.replace('|', "\\|")) };
            text += &format!(
                "| {} | {} | {} | {} | {} | {} |\n",
                row.fault,
                row.phase,
                row.code,
                code(row.says),
                code(row.cure),
                row.left.words()
            );
        }
    }
    docs::same("docs/troubleshooting.md", &text)
}

/// Why a fault cannot be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skipped(&'static str);

/// A folder for what a run reads or writes besides.
fn folder() -> Result<tempfile::TempDir> {
    scratch()
}

fn write(path: &Path, text: &str) -> Result {
    fs::write(path, text).with_context(|| path.display().to_string())
}
