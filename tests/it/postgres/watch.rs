//! Connections on which nothing comes: given up where nothing will, and waited for where the server works.

use crate::support::{
    Result,
    pg::{self, Server},
    proxy::{Action, Proxy, Rule},
    run::{Savepoint, kill, processes_of},
    scratch,
};
use anyhow::{Context, ensure};
use bytes::Bytes;
use futures_util::SinkExt;
use rustix::process::Signal;
use savepoint::postgres::{
    connect::{Session, connect},
    conninfo::{Target, parse},
    wire::Fault,
};
use std::{
    path::PathBuf,
    pin::pin,
    time::{Duration, Instant},
};

const MAJOR: u32 = 17;

/// How long nothing may come.
const STALL: Duration = Duration::from_secs(1);

fn target(url: &str) -> Result<Target> {
    Ok(parse(url, &|_| None).map_err(|e| anyhow::anyhow!("{e}"))?.0.with_stall(STALL))
}

async fn session(url: &str) -> Result<Session> {
    connect(&target(url)?, "savepoint-watch").await.map_err(|e| anyhow::anyhow!("{}", e.one_line()))
}

/// Longer than nothing may come, several times over.
const LONG: &str = "SELECT pg_catalog.pg_sleep(4)";

#[tokio::test]
async fn a_server_that_works_is_waited_for() -> Result {
    let server = pg::server(MAJOR).await?;
    let url = server.url("postgres");
    let (asks, reads, idle, feeds) =
        (session(&url).await?, session(&url).await?, session(&url).await?, session(&url).await?);
    let asks = async { asks.simple_query(LONG).await.map(drop).map_err(anyhow::Error::from) };
    let reads = async {
        let mut wire = reads.into_wire().await.map_err(|e| anyhow::anyhow!("{e}"))?;
        wire.send(&format!("COPY ({LONG}) TO STDOUT; {LONG}")).await.map_err(told)?;
        ensure!(wire.next_copy().await.map_err(told)?, "no COPY");
        while wire.fill().await.map_err(told)? {
            while wire.data().is_some() {}
        }
        ensure!(!wire.next_copy().await.map_err(told)?, "another COPY");
        // Idle, as between two tables.
        tokio::time::sleep(3 * STALL).await;
        wire.run("SELECT 1").await.map_err(told)
    };
    let idle = async {
        idle.batch_execute("BEGIN").await?;
        tokio::time::sleep(3 * STALL).await;
        idle.batch_execute("COMMIT").await?;
        anyhow::Ok(())
    };
    let feeds = async {
        feeds.batch_execute("CREATE TEMP TABLE fed (n int)").await?;
        for wait in [None, Some("1\n")] {
            let mut into = pin!(feeds.copy_in::<_, Bytes>("COPY fed FROM STDIN").await?);
            if let Some(row) = wait {
                into.send(Bytes::from_static(row.as_bytes())).await?;
                into.flush().await?;
            }
            // Nothing to send, as when the store is slow.
            tokio::time::sleep(3 * STALL).await;
            into.send(Bytes::from_static(b"2\n")).await?;
            into.finish().await?;
        }
        let rows = feeds.simple_value("SELECT count(*) FROM fed").await?;
        ensure!(rows.as_deref() == Some("3"), "{rows:?}");
        Ok(())
    };
    tokio::try_join!(asks, reads, idle, feeds)?;
    Ok(())
}

fn told(fault: Fault) -> anyhow::Error {
    anyhow::anyhow!("{}", fault.explain("wire").one_line())
}

/// The network swallows what the server sends: a row in the midst, and an answer as a whole.
#[tokio::test]
async fn what_is_swallowed_is_given_up() -> Result {
    let server = pg::server(MAJOR).await?;
    let rule = |connection| Rule { connection: Some(connection), after: 200_000, action: Action::Stall };
    let proxy = Proxy::start(server.port, vec![rule(0), rule(1)]).await?;
    let url = server.url_at(proxy.port, "postgres", "postgres");
    let (reads, asks) = (session(&url).await?, session(&url).await?);
    let begun = Instant::now();
    let rows = "SELECT repeat('x', 100) FROM generate_series(1, 100000)";
    let reads = async {
        let mut wire = reads.into_wire().await.map_err(|e| anyhow::anyhow!("{e}"))?;
        wire.send(&format!("COPY ({rows}) TO STDOUT")).await.map_err(told)?;
        ensure!(wire.next_copy().await.map_err(told)?, "no COPY");
        loop {
            match wire.fill().await {
                Ok(true) => while wire.data().is_some() {},
                Ok(false) => anyhow::bail!("it ended"),
                Err(e) => return Ok(told(e).to_string()),
            }
        }
    };
    let asks = async {
        let e = asks.simple_query(rows).await.err().context("it was answered")?;
        Ok(asks.explain("asking", e).one_line())
    };
    let (read, asked) = tokio::try_join!(reads, asks)?;
    for line in [read, asked] {
        ensure!(line.contains("no byte from postgresql://") && line.contains("nothing of it arrives"), "{line}");
    }
    ensure!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    ensure!(proxy.fired() == 2, "{}", proxy.fired());
    Ok(())
}

async fn processes(server: &Server) -> Result<Vec<u32>> {
    let data = PathBuf::from(server.psql("postgres", "SHOW data_directory").await?);
    Ok(processes_of(&data).into_iter().map(|p| p.pid).collect())
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_one_that_pauses_is_not() -> Result {
    let server = Server::start(MAJOR, "").await?;
    let url = format!("{}?connect_timeout=3", server.url("postgres"));
    let asks = session(&url).await?;
    let all = processes(&server).await?;
    ensure!(all.len() > 3, "{all:?}");
    let signal = |signal| all.iter().try_for_each(|&pid| kill(pid, signal));
    let asking = asks.simple_query(LONG);
    let pausing = async {
        tokio::time::sleep(STALL / 2).await;
        signal(Signal::STOP)?;
        tokio::time::sleep(2 * STALL).await;
        signal(Signal::CONT)
    };
    let (asked, paused) = tokio::join!(asking, pausing);
    paused?;
    asked.context("it only paused")?;
    signal(Signal::STOP)?;
    let begun = Instant::now();
    let asked = tokio::time::timeout(Duration::from_secs(20), asks.simple_query("SELECT 1")).await;
    signal(Signal::CONT)?;
    let e = asked.context("it was waited for without an end")?.err().context("it was answered")?;
    let line = asks.explain("asking", e).one_line();
    ensure!(line.contains("nor does it answer on another connection"), "{line} ({:?})", begun.elapsed());
    Ok(())
}

/// A whole backup over a network that swallows rows ends, names it, and leaves nothing.
#[tokio::test]
async fn a_backup_ends_where_rows_are_swallowed() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_swallowed";
    server.create_db(db, "").await?;
    server.psql(db, "CREATE TABLE t AS SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 50000) g").await?;
    let rule = Rule { connection: None, after: 10_000_000, action: Action::Stall };
    let proxy = Proxy::start(server.port, vec![rule]).await?;
    let stored = scratch()?;
    let run = Savepoint::backup(&server.url_at(proxy.port, "postgres", db), &server.bin)?.to_folder(stored.path());
    let begun = Instant::now();
    let ended = run.args(["--stall-timeout", "2s", "--jobs", "2"]).run().await?.expect(1)?;
    ensure!(ended.stderr.contains("no byte from postgresql://"), "{}", ended.output());
    ensure!(ended.stderr.contains("drops the connection without a word"), "{}", ended.output());
    ensure!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    ended.left_nothing()?;
    server.drop_db(db).await
}

/// Who stands in the way is named.
#[tokio::test]
async fn who_holds_a_lock_is_named() -> Result {
    let server = pg::server(MAJOR).await?;
    let db = "it_lock_held";
    server.create_db(db, "").await?;
    server.psql(db, "CREATE TABLE t (n int)").await?;
    let holder = connect(&target(&server.url(db))?, "deploy tool").await.map_err(|e| anyhow::anyhow!("{e}"))?;
    let pid = holder.backend_pid().await.map_err(|e| anyhow::anyhow!("{e}"))?;
    holder.batch_execute("BEGIN; LOCK TABLE t").await?;
    let stored = scratch()?;
    let run = Savepoint::backup(&server.url(db), &server.bin)?.to_folder(stored.path());
    let ended = run.args(["--stall-timeout", "1s"]).run().await?.expect(1)?;
    let said = ended.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        &format!("process {pid} of postgres by deploy tool holds an exclusive lock on public.t, idle in transaction"),
        "in a transaction for",
        ": BEGIN; LOCK TABLE t",
        "pg_terminate_backend",
    ] {
        ensure!(said.contains(part), "{part}: {}", ended.output());
    }
    ended.left_nothing()?;
    drop(holder);
    server.drop_db(db).await
}
