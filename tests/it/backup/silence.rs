//! A network that swallows everything: the run ends, says where, and leaves nothing behind here.

use crate::support::{
    Result,
    pg::{self, Server},
    proxy::{BlackHole, Tamper, TamperingS3},
    run::{Ended, Savepoint},
    s3, scratch,
};
use anyhow::ensure;
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
async fn fails(run: Savepoint, hole: &BlackHole) -> Result<Ended> {
    let run = run.args(["--stall-timeout", STALL]).spawn()?;
    let watch = async {
        while !hole.swallows() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Instant::now()
    };
    let (ended, began) = tokio::join!(run.wait(), tokio::time::timeout(Duration::from_secs(120), watch));
    let (ended, began) = (ended?.expect(1)?, began?);
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
    let ended = fails(Savepoint::backup(&url, &server.bin)?.to_folder(stored.path()), &hole).await?;
    ensure!(ended.stderr.contains("no byte from postgresql://"), "{}", ended.output());
    ensure!(ended.stderr.contains("nor does it answer on another connection"), "{}", ended.output());
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
