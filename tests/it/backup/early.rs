//! Frames that are restored while their table's file is still on its way to the store.

use crate::support::{
    Result,
    pg::{self, Server},
    proxy::{Tamper, TamperingS3},
    run::{Savepoint, in_process, nothing_left},
    s3, scratch,
};
use anyhow::ensure;
use savepoint::cancel::Cancel;
use savepoint::{
    progress::{Event, Progress},
    report::Outcome,
};
use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

const MAJOR: u32 = 17;

/// Bytes per second at which the table of [`big`] takes longer than the throwaway server's start, also on a busy machine.
const RATE: u64 = 5 << 20;

/// A table of about 60 MB of text and several frames.
async fn big(db: &str) -> Result<&'static Server> {
    let server = pg::server(MAJOR).await?;
    server.create_db(db, "").await?;
    let sql = "CREATE TABLE big AS SELECT g AS id, md5(g::text) || md5((-g)::text) || md5((g * 2)::text) AS t \
               FROM generate_series(1, 550000) g; ANALYZE";
    server.psql(db, sql).await?;
    Ok(server)
}

/// Bytes read from the source and restored, and what was restored when the last bytes were read.
#[derive(Default)]
struct Counts(Mutex<(u64, u64, u64)>);

impl Progress for Counts {
    fn event(&self, event: Event<'_>) {
        let mut counts = self.0.lock().unwrap();
        match event {
            Event::Dumped { bytes, .. } if bytes > 0 => {
                counts.0 += bytes;
                counts.2 = counts.1;
            }
            Event::Restored(bytes) => counts.1 += bytes,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_table_is_restored_while_it_is_read() -> Result {
    let server = big("it_early").await?;
    let (store, temporary) = (scratch()?, scratch()?);
    let mut config = in_process(server, "it_early", store.path(), temporary.path());
    config.max_rate = NonZeroU64::new(RATE);
    let counts = Arc::new(Counts::default());
    let report = savepoint::backup::run(&config, counts.clone(), Cancel::new()).await;
    ensure!(report.outcome == Outcome::Proven, "{report:#?}");
    let (read, restored, early) = *counts.0.lock().unwrap();
    ensure!(restored == read, "{restored} bytes were restored, {read} read");
    ensure!(early > 0, "nothing was restored before the table was read to its end");
    nothing_left(temporary.path())
}

/// What was restored early came from memory: what lies in the store must be looked at all the same.
#[tokio::test]
async fn what_was_restored_early_is_read_back() -> Result {
    let server = big("it_early_flip").await?;
    let s3 = s3::s3().await?;
    let bucket = s3.bucket().await?;
    let data = |key: &str| key.contains("/archive/t") && key.contains(".dat") && !key.ends_with("toc.dat");
    // Far behind the frames that come before the throwaway server is ready.
    let bad = TamperingS3::start(s3, &bucket, Tamper::Flip(Some(24 << 20)), data).await?;
    let ended = Savepoint::backup(&server.url("it_early_flip"), &server.bin)?
        .to_s3(&bad.endpoint, &bucket, "x")
        .args(["--max-rate", &RATE.to_string()])
        .run()
        .await?
        .expect(3)?;
    ended.left_nothing()?;
    ensure!(!bad.served().is_empty(), "the file was never read back");
    ensure!(ended.output().contains(".dat.zst: bytes "), "not named\n{}", ended.output());
    Ok(())
}
