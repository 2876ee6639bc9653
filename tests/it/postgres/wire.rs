//! Rows read over the bare protocol, against real servers: over TCP, TLS and a Unix socket, and over connections that break.

use crate::support::{
    Result, pg,
    proxy::{Action, Proxy, Rule},
};
use anyhow::{Context, ensure};
use savepoint::{
    archive::fingerprint::Fingerprint,
    postgres::{
        connect::{Session, connect},
        conninfo::{Target, parse},
        wire::{Fault, Wire},
    },
};
use std::time::{Duration, Instant};

const MAJOR: u32 = 17;

/// What the wire reads ahead; rows of more than half of it come in pieces.
const BUFFER: usize = 256 << 10;

fn target(conninfo: &str) -> Result<Target> {
    Ok(parse(conninfo, &|_| None).map_err(|e| anyhow::anyhow!("{e}"))?.0)
}

async fn session(target: &Target) -> Result<Session> {
    connect(target, "savepoint-wire").await.map_err(|e| anyhow::anyhow!("{}", e.one_line()))
}

/// A wire, and the process behind it.
async fn wire(target: &Target) -> Result<(Wire, i32)> {
    let session = session(target).await?;
    let pid = session.backend_pid().await?;
    Ok((session.into_wire().await?, pid))
}

fn told(fault: Fault) -> anyhow::Error {
    anyhow::anyhow!("{}", fault.explain("wire").one_line())
}

/// Reads the COPY that the server has begun; with the fault, what was read before it.
async fn read(wire: &mut Wire) -> (Fingerprint, std::result::Result<(), Fault>) {
    let (mut sum, mut row) = (Fingerprint::default(), None);
    loop {
        match wire.fill().await {
            Ok(true) => {}
            Ok(false) => break,
            Err(e) => return (sum, Err(e)),
        }
        while let Some(data) = wire.data() {
            assert!(data.bytes.len() <= BUFFER, "{} bytes at once", data.bytes.len());
            assert!(sum.add_piece(&mut row, data.bytes, data.ends).is_some(), "a row without a line end");
        }
    }
    assert!(row.is_none(), "a row is still open");
    (sum, Ok(()))
}

async fn one(wire: &mut Wire, query: &str) -> Result<Fingerprint> {
    wire.send(&format!("COPY ({query}) TO STDOUT")).await.map_err(told)?;
    ensure!(wire.next_copy().await.map_err(told)?, "no COPY began");
    let (sum, ended) = read(wire).await;
    ended.map_err(told)?;
    ensure!(!wire.next_copy().await.map_err(told)?, "another COPY began");
    Ok(sum)
}

fn rows(lines: impl IntoIterator<Item = String>) -> Fingerprint {
    let mut sum = Fingerprint::default();
    lines.into_iter().for_each(|line| sum.add_row(format!("{line}\n").as_bytes()));
    sum
}

/// Everything that a healthy server says, over one connection.
async fn speaks(target: &Target) -> Result {
    let setup = session(target).await?;
    setup
        .batch_execute(
            "CREATE FUNCTION pg_temp.hear(n int) RETURNS int LANGUAGE plpgsql AS \
                 'BEGIN RAISE NOTICE ''row %'', n USING DETAIL = repeat(''y'', 200); RETURN n; END'; \
             CREATE TEMP TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES; \
             CREATE TEMP TABLE empty (a int)",
        )
        .await?;
    setup.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    // Leaves a prepared statement behind, which the driver closes some time later.
    ensure!(setup.query_one("SELECT $1::int + 1", &[&1]).await?.get::<_, i32>(0) == 2);
    let mut w = setup.into_wire().await?;
    let level = one(&mut w, "SELECT current_setting('transaction_isolation')").await?;
    ensure!(level == rows(["repeatable read".into()]), "the transaction does not go on");
    w.run("COMMIT").await.map_err(told)?;

    let noisy = one(&mut w, "SELECT pg_temp.hear(g), repeat('x', g % 300) FROM generate_series(1, 3000) g").await?;
    ensure!(noisy == rows((1..=3000).map(|g| format!("{g}\t{}", "x".repeat(g % 300)))), "{noisy:?}");
    let status = "SELECT set_config('application_name', 'a' || g, false) FROM generate_series(1, 50) g";
    ensure!(one(&mut w, status).await? == rows((1..=50).map(|g| format!("a{g}"))));

    // An error behind rows; the connection is in step afterwards.
    for _ in 0..2 {
        let sql = "COPY (SELECT 1 / (5000 - g) FROM generate_series(1, 9000) g) TO STDOUT; COPY empty TO STDOUT";
        w.send(sql).await.map_err(told)?;
        ensure!(w.next_copy().await.map_err(told)?);
        let (sum, ended) = read(&mut w).await;
        let Err(Fault::Server(said)) = ended else { anyhow::bail!("{ended:?}") };
        ensure!(said.code == "22012" && said.message == "division by zero" && sum.rows == 4999, "{said:?} {sum:?}");
        let e = Fault::Server(said).explain("reading").one_line();
        ensure!(e.starts_with("reading: division by zero (SQLSTATE 22012)"), "{e}");
        w.run("SELECT 1").await.map_err(told)?;
        ensure!(one(&mut w, "VALUES (1), (2)").await? == rows(["1".into(), "2".into()]));
    }

    // Several in one statement: the second fails before it begins, and behind its first row.
    for (second, begins) in [("SELECT 1 / 0", false), ("SELECT 1 / (2 - g) FROM generate_series(1, 9) g", true)] {
        w.send(&format!("COPY (SELECT 7) TO STDOUT; COPY ({second}) TO STDOUT; COPY (SELECT 8) TO STDOUT"))
            .await
            .map_err(told)?;
        ensure!(w.next_copy().await.map_err(told)?);
        ensure!(matches!(read(&mut w).await, (sum, Ok(())) if sum == rows(["7".into()])));
        let failed = match w.next_copy().await {
            Ok(true) if begins => read(&mut w).await.1.err(),
            other => other.err(),
        };
        ensure!(matches!(&failed, Some(Fault::Server(said)) if said.code == "22012"), "{failed:?}");
        ensure!(one(&mut w, "SELECT 9").await? == rows(["9".into()]));
    }

    w.send("COPY nothing TO STDOUT; COPY empty TO STDOUT; SELECT 1; COPY (SELECT 1) TO STDOUT").await.map_err(told)?;
    for expected in [rows([String::new(), String::new()]), rows([]), rows(["1".into()])] {
        ensure!(w.next_copy().await.map_err(told)?);
        ensure!(matches!(read(&mut w).await, (sum, Ok(())) if sum == expected), "not {expected:?}");
    }
    ensure!(!w.next_copy().await.map_err(told)?);

    // Rows of every size that is special to the buffer, line ends included, with small ones between them.
    let half = BUFFER / 2;
    let mut sizes = vec![1, 2, half - 6, half - 5, half - 1, half, half + 1, half + 5, half + 6];
    sizes.extend([BUFFER - 6, BUFFER - 5, BUFFER - 1, BUFFER, BUFFER + 1, 3 << 20, 60 << 20]);
    let list = sizes.iter().map(|s| format!("({})", s - 1)).collect::<Vec<_>>().join(", ");
    let query = format!(
        "SELECT repeat('z', CASE k WHEN 1 THEN n ELSE 3 END) FROM (VALUES {list}) s (n), generate_series(0, 2) k"
    );
    let sum = one(&mut w, &query).await?;
    let lines = sizes.iter().flat_map(|s| [3, s - 1, 3].map(|n| "z".repeat(n)));
    ensure!(sum == rows(lines), "{sum:?}");
    w.end().await;
    Ok(())
}

#[tokio::test]
async fn over_tcp() -> Result {
    let server = pg::server(MAJOR).await?;
    speaks(&target(&server.url("postgres"))?).await
}

#[tokio::test]
async fn over_a_unix_socket() -> Result {
    let server = pg::server(MAJOR).await?;
    speaks(&target(&server.socket("postgres"))?).await
}

/// With the password bound to the channel, which proves that the stream that is tapped is the one that was verified.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_with_channel_binding() -> Result {
    let server = super::tls::Server::start();
    speaks(&server.target("db.test", "sslmode=verify-full&sslrootcert=DIR/ca.crt&channel_binding=require")).await
}

async fn terminate(server: &pg::Server, pid: i32) -> Result {
    server.psql("postgres", &format!("SELECT pg_terminate_backend({pid}, 10000)")).await?;
    Ok(())
}

#[tokio::test]
async fn an_ended_connection_says_why() -> Result {
    let server = pg::server(MAJOR).await?;
    for conninfo in [server.url("postgres"), server.socket("postgres")] {
        let target = target(&conninfo)?;
        let says_why = |fault: Fault| {
            let e = fault.explain("reading");
            let why = "terminating connection due to administrator command (SQLSTATE 57P01)";
            ensure!(e.one_line().contains(why), "{conninfo}: {}", e.one_line());
            Ok(())
        };
        // While it is idle.
        let (mut w, pid) = wire(&target).await?;
        terminate(server, pid).await?;
        says_why(w.run("SELECT 1").await.expect_err("it was ended"))?;
        // In the middle of a COPY, where the server rests behind some rows; what waits for its reader is ended without a word.
        let (mut w, pid) = wire(&target).await?;
        let sql = "COPY (SELECT repeat('x', 100), CASE WHEN g = 400 THEN pg_sleep(60) END::text \
                   FROM generate_series(1, 3000) g) TO STDOUT";
        w.send(sql).await.map_err(told)?;
        ensure!(w.next_copy().await.map_err(told)? && w.fill().await.map_err(told)?);
        tokio::time::sleep(Duration::from_millis(300)).await;
        terminate(server, pid).await?;
        let (sum, ended) = read(&mut w).await;
        ensure!((1..400).contains(&sum.rows), "{sum:?}");
        let fault = ended.expect_err("it was ended");
        ensure!(matches!(fault, Fault::Broken(_)), "{fault:?}");
        says_why(fault)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_connection_cut_within_a_row_is_no_end() -> Result {
    let server = pg::server(MAJOR).await?;
    for (after, query) in [
        (5 << 20, "SELECT repeat('x', 60000000)"),
        (1 << 20, "SELECT repeat('x', 1001) FROM generate_series(1, 20000)"),
    ] {
        let proxy = Proxy::start(server.port, vec![Rule { connection: None, after, action: Action::Cut }]).await?;
        let (mut w, _) = wire(&target(&server.url_at(proxy.port, "postgres", "postgres"))?).await?;
        w.send(&format!("COPY ({query}) TO STDOUT")).await.map_err(told)?;
        ensure!(w.next_copy().await.map_err(told)?);
        let (sum, ended) = read(&mut w).await;
        let Err(Fault::Broken(e)) = ended else { anyhow::bail!("{ended:?} behind {sum:?}") };
        ensure!(e.message().contains("closed the connection unexpectedly") && e.hint_text().is_some(), "{e:?}");
        ensure!(proxy.fired() == 1 && (1..after).contains(&sum.bytes), "{sum:?}");
    }
    Ok(())
}

/// A wire that is dropped in the middle of a row leaves no process behind on the server.
#[tokio::test]
async fn a_dropped_wire_ends_its_statement() -> Result {
    let server = pg::server(MAJOR).await?;
    let (mut w, pid) = wire(&target(&server.url("postgres"))?).await?;
    w.send("COPY (SELECT repeat('x', 60000000) FROM generate_series(1, 1000)) TO STDOUT").await.map_err(told)?;
    ensure!(w.next_copy().await.map_err(told)? && w.fill().await.map_err(told)?);
    ensure!(w.data().is_some_and(|data| !data.ends));
    drop(w);
    let begun = Instant::now();
    let there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    while server.psql("postgres", &there).await? != "0" {
        ensure!(begun.elapsed() < Duration::from_secs(20), "the server goes on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The kernel's own list shows the timer of a socket: 02 is keepalive, with what is left of its 30 seconds.
#[tokio::test]
async fn silence_is_broken_by_keepalives() -> Result {
    let server = pg::server(MAJOR).await?;
    let proxy = Proxy::start(server.port, Vec::new()).await?;
    let (w, _) = wire(&target(&server.url_at(proxy.port, "postgres", "postgres"))?).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let sockets = std::fs::read_to_string("/proc/self/net/tcp")?;
    let to = format!(":{:04X}", proxy.port);
    let line: Vec<&str> = sockets
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>())
        .find(|l| l.get(2).is_some_and(|remote| remote.ends_with(&to)))
        .context("the socket is not listed")?;
    let (timer, left) = line[5].split_once(':').context("no timer")?;
    let left = u64::from_str_radix(left, 16)?;
    ensure!(timer == "02" && (2000..=3000).contains(&left), "{line:?}");
    w.end().await;
    Ok(())
}

/// A host that swallows what is sent to it: the queue of a socket that nobody accepts from is full.
#[tokio::test]
async fn a_silent_host_is_called_unreachable() -> Result {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(0)?;
    let address = socket.local_addr()?.as_socket().context("an address")?;
    let mut filler = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        filler.push(stream);
        ensure!(filler.len() < 100, "the queue does not fill");
    }
    let url = format!("postgresql://postgres@127.0.0.1:{}/postgres?connect_timeout=2", address.port());
    let begun = Instant::now();
    let e = connect(&target(&url)?, "savepoint-wire").await.expect_err("nobody answers");
    ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    ensure!(e.one_line().contains("error connecting to server: no answer within 2s"), "{}", e.one_line());
    ensure!(e.hint_text().is_some_and(|h| h.contains("firewall")), "{e:?}");
    Ok(())
}
