//! A network that swallows everything: the run ends, says where, and leaves nothing behind here.

use crate::support::{
    Result,
    pg::{self, Server},
    proxy::{BlackHole, Tamper, TamperingS3},
    run::{Ended, Savepoint, kill},
    s3, scratch,
};
use anyhow::ensure;
use rustix::process::Signal;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const MAJOR: u32 = 17;

/// How long nothing may come, and within what the run has to end once nothing comes.
const STALL: &str = "4s";
const END: Duration = Duration::from_secs(40);

async fn database(db: &str) -> Result<&'static Server> {
    let server = pg::server(MAJOR).await?;
    server.create_db(db, "").await?;
    // Hashes do not compress.
    let row = "(SELECT string_agg(md5(g || '/' || i), '') FROM generate_series(1, 20) i)";
    server.psql(db, &format!("CREATE TABLE t AS SELECT g, {row} AS t FROM generate_series(1, 50000) g")).await?;
    Ok(server)
}

/// Runs it until it fails; what it says.
async fn fails(run: Savepoint, hole: &BlackHole, code: i32) -> Result<Ended> {
    let run = run.args(["--stall-timeout", STALL]).spawn()?;
    let watch = async {
        while !hole.swallows() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Instant::now()
    };
    let (ended, began) = tokio::join!(run.wait(), tokio::time::timeout(Duration::from_secs(120), watch));
    let (ended, began) = (ended?.expect(code)?, began?);
    ensure!(began.elapsed() < END, "it took {:?}\n{}", began.elapsed(), ended.output());
    ended.left_nothing()?;
    Ok(ended)
}

#[tokio::test]
async fn postgresql_falls_silent() -> Result {
    let db = "it_silent_source";
    let server = database(db).await?;
    let hole = BlackHole::start(server.port, u64::MAX, 10_000_000).await?;
    let stored = scratch()?;
    let url = format!("{}?connect_timeout=3", server.url_at(hole.port, "postgres", db));
    let ended = fails(Savepoint::backup(&url, &server.bin)?.to_folder(stored.path()), &hole, 1).await?;
    // Whichever of the connections is given up first: ours, or pg_dump's.
    let told = ["no byte from postgresql://", "pg_dump of postgresql://"].iter().any(|w| ended.stderr.contains(w));
    ensure!(told && ended.stderr.contains(" answer on another connection"), "{}", ended.output());
    server.drop_db(db).await
}

/// Bytes that come otherwise than they are stored, once: read again, told, and no fault of the backup.
#[tokio::test]
async fn a_fault_on_the_way_is_none_of_the_backup() -> Result {
    let db = "it_on_the_way";
    let server = database(db).await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    for (n, part) in ["/archive/t", "/archive/toc.dat"].into_iter().enumerate() {
        let first = AtomicBool::new(true);
        let once = move |key: &str| key.contains(part) && first.swap(false, Ordering::SeqCst);
        let bad = TamperingS3::start(s3, &bucket, Tamper::Flip(None), once).await?;
        let run = Savepoint::backup(&server.url(db), &server.bin)?.to_s3(&bad.endpoint, &bucket, &format!("x{n}"));
        let ended = run.run().await?.expect(0)?;
        ensure!(bad.served().len() == 1, "{part}: {:?}", bad.served());
        let told = ended.output();
        ensure!(told.contains("a fault on the way, not of the backup"), "{part}: {told}");
        ensure!(told.contains("passed, all equal"), "{part}: {told}");
    }
    server.drop_db(db).await
}

/// In both directions: while it sends, and while it reads back.
#[tokio::test]
async fn the_store_falls_silent() -> Result {
    let db = "it_silent_store";
    let server = database(db).await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let port: u16 = s3.endpoint.rsplit(':').next().unwrap_or_default().parse()?;
    // Behind the commit point it is stored, but not proven.
    for (up, down, code) in [(6_000_000, u64::MAX, 1), (u64::MAX, 6_000_000, 3)] {
        let hole = BlackHole::start(port, up, down).await?;
        let endpoint = format!("http://127.0.0.1:{}", hole.port);
        let run = Savepoint::backup(&server.url(db), &server.bin)?.to_s3(&endpoint, &bucket, "x");
        let ended = fails(run, &hole, code).await?;
        ensure!(ended.stderr.contains(&format!("s3://{bucket}/x/")), "{}", ended.output());
        ensure!(ended.stderr.contains("no answer from") || ended.stderr.contains("nothing came"), "{}", ended.output());
    }
    server.drop_db(db).await
}

/// Programs that were stopped, whose sessions the server knows to be idle.
#[tokio::test]
async fn a_program_stands_still() -> Result {
    let db = "it_stands_still";
    let server = pg::server(MAJOR).await?;
    server.awkward(db).await?;
    for (program, option, code) in [("pg_dump", "custom", 1), ("pg_restore", "directory --no-t", 3)] {
        let stored = scratch()?;
        let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(stored.path());
        let run = run.args(["--stall-timeout", STALL]).spawn()?;
        let pid = run.descendant(&format!("/{program} --format={option}")).await?;
        kill(pid, Signal::STOP)?;
        let began = Instant::now();
        let ended = run.wait().await?.expect(code)?;
        ensure!(began.elapsed() < END, "{program}: it took {:?}\n{}", began.elapsed(), ended.output());
        ensure!(ended.output().contains(&format!("{program} of ")), "{}", ended.output());
        ensure!(ended.output().contains("stands still: the server "), "{}", ended.output());
        ended.left_nothing()?;
    }
    server.drop_db(db).await
}

/// A limit on the whole run: told as such, cleaned up, within the limit.
#[tokio::test]
async fn the_time_is_over() -> Result {
    let db = "it_time_is_over";
    let server = database(db).await?;
    let stored = scratch()?;
    server.psql(db, "CREATE TABLE held (a int)").await?;
    let lock = "BEGIN; LOCK TABLE held; SELECT pg_sleep(20)";
    let held = async {
        // Ended by its time limit, which it is to outlive.
        let _ = server.psql(db, lock).await;
    };
    let run = async {
        let locked = "SELECT count(*) FROM pg_locks WHERE relation = 'held'::regclass AND mode = 'AccessExclusiveLock'";
        while server.psql(db, locked).await?.trim() != "1" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let began = Instant::now();
        let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(stored.path()).args(["--timeout", "8s"]);
        let ended = run.run().await?.expect(1)?;
        ensure!(began.elapsed() < Duration::from_secs(9), "it took {:?}\n{}", began.elapsed(), ended.output());
        ensure!(ended.stderr.contains("its time is over: --timeout allows 8 s"), "{}", ended.output());
        ended.left_nothing()
    };
    tokio::pin!(held);
    tokio::select! { ended = run => ended?, () = &mut held => anyhow::bail!("the lock was let go") }
    server.psql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%LOCK TABLE held%' AND pid <> pg_backend_pid()").await?;
    server.drop_db(db).await
}
