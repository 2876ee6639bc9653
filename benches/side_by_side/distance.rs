//! A link of a given round trip and rate, to put between a client and a server on the same machine.
//!
//! Each direction is a delay line: what is read has to wait for its turn on the wire (one for all connections), then
//! travels for half a round trip. A new connection costs one round trip, as its handshake would. Not imitated: TCP's
//! slow start and losses.

use crate::support::Result;
use anyhow::ensure;
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::AbortHandle,
    time::sleep_until,
};

/// A proxy to a port of 127.0.0.1. Ends when it is dropped.
#[derive(Debug)]
pub struct Link {
    /// The proxy's port on 127.0.0.1.
    pub port: u16,
    task: AbortHandle,
}

/// A timer wakes up to some milliseconds late; the wire may catch up on so much of idle time.
const CATCH_UP: Duration = Duration::from_millis(10);

/// One direction's wire.
struct Wire {
    /// Bits per second.
    rate: f64,
    /// When it is free again.
    free: Mutex<Instant>,
}

impl Link {
    /// Starts to listen. `rate`: bits per second and direction.
    pub async fn start(upstream: u16, round_trip: Duration, rate: f64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let wires = Arc::new([(); 2].map(|()| Wire { rate, free: Mutex::new(Instant::now()) }));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let wires = wires.clone();
                connections.spawn(async move {
                    tokio::time::sleep(round_trip).await;
                    let server = TcpStream::connect(("127.0.0.1", upstream)).await?;
                    client.set_nodelay(true)?;
                    server.set_nodelay(true)?;
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let there = carry(from_client, to_server, &wires[0], round_trip / 2);
                    let back = carry(from_server, to_client, &wires[1], round_trip / 2);
                    tokio::try_join!(there, back).map(|_| ())
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, task: task.abort_handle() })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, wire: &Wire, delay: Duration) -> std::io::Result<()> {
    // The sender waits for its turn before it reads on, so that no more than rate x delay is ever under way.
    let (put, mut take) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let send = async move {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let n = from.read(&mut buffer).await?;
            if n == 0 {
                return std::io::Result::Ok(());
            }
            let gone = {
                let mut free = wire.free.lock().unwrap();
                *free = (*free).max(Instant::now() - CATCH_UP) + Duration::from_secs_f64(n as f64 * 8.0 / wire.rate);
                *free
            };
            if put.send((gone.max(Instant::now()) + delay, buffer[..n].to_vec())).is_err() {
                return Ok(());
            }
            sleep_until(gone.into()).await;
        }
    };
    let receive = async move {
        while let Some((at, bytes)) = take.recv().await {
            sleep_until(at.into()).await;
            to.write_all(&bytes).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(send, receive).map(|_| ())
}

/// What a stopwatch says of a link of this round trip: milliseconds of a round trip, and Mbit/s. An error when it is
/// far from what it is meant to be: figures taken over it would mean nothing.
pub async fn check(round_trip: Duration, rate: f64) -> Result<(f64, f64)> {
    // Long beside what the wire may catch up on.
    let size = (rate / 50.0) as usize;
    let echo = TcpListener::bind("127.0.0.1:0").await?;
    let link = Link::start(echo.local_addr()?.port(), round_trip, rate).await?;
    // Answers one byte by one byte, then swallows everything and answers at its end.
    let server = tokio::spawn(async move {
        let (mut stream, _) = echo.accept().await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        tokio::io::copy(&mut (&mut stream).take(size as u64), &mut tokio::io::sink()).await?;
        stream.write_u8(byte).await
    });
    let mut stream = TcpStream::connect(("127.0.0.1", link.port)).await?;
    stream.set_nodelay(true)?;
    // The handshake's round trip is over once the first byte is back.
    let began = Instant::now();
    stream.write_u8(1).await?;
    stream.read_u8().await?;
    let measured = began.elapsed().as_secs_f64() * 1e3 / 2.0;
    let began = Instant::now();
    stream.write_all(&vec![0; size]).await?;
    stream.read_u8().await?;
    let seconds = (began.elapsed().as_secs_f64() - measured / 1e3).max(1e-6);
    server.await??;
    let found = size as f64 * 8.0 / seconds;
    let meant = round_trip.as_secs_f64() * 1e3;
    ensure!(
        measured > meant * 0.9 && measured < meant * 1.5 + 20.0 && found < rate * 1.2 && found > rate * 0.3,
        "the imitated link of {meant} ms and {} Mbit/s has {measured:.1} ms and {:.0} Mbit/s: \
         is the machine overloaded?",
        rate / 1e6,
        found / 1e6
    );
    Ok((measured, found / 1e6))
}
