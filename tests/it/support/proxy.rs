//! Bad networks and bad stores: a TCP proxy that cuts or stalls, and an S3 proxy that serves objects other than stored.

use super::{Result, s3::S3};
use anyhow::Context;
use std::{
    future::Future,
    ops::Range,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What a function that calls itself has to return.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Closes the connection.
    Cut,
    /// Passes nothing any more, and keeps the connection.
    Stall,
    /// Changes the length of the `number`th message of this kind, counted from 1, and passes on; without TLS.
    Length {
        /// Its first byte, such as `b'd'`.
        kind: u8,
        number: usize,
    },
}

/// Breaks one connection, once.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Which connection, counted from 0 in the order of their arrival; `None`: the first that gets so far.
    pub connection: Option<usize>,
    /// Bytes that the server may send over it before.
    pub after: u64,
    /// What happens then.
    pub action: Action,
}

/// A TCP proxy to a port of 127.0.0.1.
#[derive(Debug)]
pub struct Proxy {
    /// The proxy's port on 127.0.0.1.
    pub port: u16,
    count: Arc<AtomicUsize>,
    fired: Arc<AtomicUsize>,
    cut: watch::Sender<bool>,
    task: AbortHandle,
}

impl Proxy {
    /// Starts to listen.
    pub async fn start(upstream: u16, rules: Vec<Rule>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (cut, is_cut) = watch::channel(false);
        let (count, fired) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counter, firer, rules) = (count.clone(), fired.clone(), Arc::new(Mutex::new(rules)));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut is_cut, rules, firer) = (is_cut.clone(), rules.clone(), firer.clone());
                let number = counter.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = is_cut.wait_for(|cut| *cut) => {}
                        _ = pass(client, upstream, number, &rules, &firer) => {}
                    }
                });
            }
        });
        Ok(Self { port, count, fired, cut, task: task.abort_handle() })
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Rules that came true so far.
    pub fn fired(&self) -> usize {
        self.fired.load(Ordering::SeqCst)
    }

    /// Closes all connections, and each new one at once.
    pub fn cut_all(&self) {
        self.cut.send_replace(true);
    }
}

/// A network that swallows everything, on connections that are there and on new ones, once so many bytes went up or came down.
#[derive(Debug)]
pub struct BlackHole {
    /// Its port on 127.0.0.1.
    pub port: u16,
    closed: Arc<AtomicBool>,
    task: AbortHandle,
}

impl BlackHole {
    /// Starts to listen.
    pub async fn start(upstream: u16, up: u64, down: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let closed = Arc::new(AtomicBool::new(false));
        let (is_closed, sums) = (closed.clone(), [up, down].map(|most| Arc::new(Sum { most, so_far: 0.into() })));
        let task = tokio::spawn(async move {
            // They end with it: else the server's sessions would wait for ever.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (closed, [up, down]) = (is_closed.clone(), sums.clone());
                connections.spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", upstream)).await?;
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::try_join!(
                        swallow(from_client, to_server, &up, &closed),
                        swallow(from_server, to_client, &down, &closed)
                    )
                });
            }
        });
        Ok(Self { port, closed, task: task.abort_handle() })
    }

    /// Whether it swallows by now.
    pub fn swallows(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }
}

impl Drop for BlackHole {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug)]
struct Sum {
    most: u64,
    so_far: AtomicU64,
}

async fn swallow(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    sum: &Sum,
    closed: &AtomicBool,
) -> Result {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = from.read(&mut buffer).await?;
        if sum.so_far.fetch_add(n as u64, Ordering::SeqCst) + n as u64 > sum.most {
            closed.store(true, Ordering::SeqCst);
        }
        if closed.load(Ordering::SeqCst) {
            // Not even that somebody hung up comes through.
            std::future::pending::<()>().await;
        }
        if n == 0 {
            to.shutdown().await?;
            return Ok(());
        }
        to.write_all(&buffer[..n]).await?;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut.send_replace(true);
    }
}

async fn pass(
    client: TcpStream,
    upstream: u16,
    number: usize,
    rules: &Mutex<Vec<Rule>>,
    fired: &AtomicUsize,
) -> Result {
    let server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await?;
        anyhow::Ok(())
    };
    let down = async {
        let mut buffer = vec![0; 64 * 1024];
        let (mut sent, mut messages) = (0, Messages::default());
        loop {
            let n = from_server.read(&mut buffer).await?;
            if n == 0 {
                to_client.shutdown().await?;
                return anyhow::Ok(());
            }
            sent += n as u64;
            let rule = {
                let mut rules = rules.lock().unwrap();
                let hit = rules.iter().position(|r| {
                    let met = match r.action {
                        Action::Length { kind, number } => messages.change(&mut buffer[..n], kind, number),
                        Action::Cut | Action::Stall => sent >= r.after,
                    };
                    met && r.connection.is_none_or(|c| c == number)
                });
                hit.map(|i| rules.remove(i))
            };
            if let Some(rule) = rule {
                fired.fetch_add(1, Ordering::SeqCst);
                match rule.action {
                    Action::Cut => anyhow::bail!("cut"),
                    Action::Stall => std::future::pending::<()>().await,
                    Action::Length { .. } => {}
                }
            }
            to_client.write_all(&buffer[..n]).await?;
        }
    };
    tokio::try_join!(up, down)?;
    Ok(())
}

/// Finds the messages of PostgreSQL's protocol in what a server sends: a byte, and four of the length with themselves.
#[derive(Default)]
struct Messages {
    /// Bytes of the message that are still to come.
    left: usize,
    head: Vec<u8>,
    seen: usize,
}

impl Messages {
    /// Makes the length of the `number`th message of this kind a gigabyte larger; true when that was in these bytes.
    fn change(&mut self, bytes: &mut [u8], kind: u8, number: usize) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            let skipped = self.left.min(bytes.len() - at);
            (self.left, at) = (self.left - skipped, at + skipped);
            let Some(&byte) = bytes.get(at) else { break };
            self.head.push(byte);
            at += 1;
            if let &[first, a, b, c, d] = self.head.as_slice() {
                self.left = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_sub(4);
                self.head.clear();
                self.seen += usize::from(first == kind);
                // One that came in two pieces is passed on, and the next one taken.
                if first == kind && self.seen >= number && at >= 4 {
                    bytes[at - 4] ^= 0x40;
                    return true;
                }
            }
        }
        false
    }
}

/// What a tampering proxy serves in place of an object.
#[derive(Clone, Debug)]
pub enum Tamper {
    /// The byte at this place has its lowest bit flipped (`None`: the one in the middle).
    Flip(Option<usize>),
    /// Only the first zstd frame or, of other files, the first half.
    CutAtFrame,
    /// The content of the next object in the list whose key matches as well.
    Swap,
    /// Nothing: the object is gone.
    Delete,
}

/// An S3 proxy that serves some objects other than they are stored, as a store does that has lost or mixed up bytes.
/// Everything but GET requests for these objects goes through.
#[derive(Debug)]
pub struct TamperingS3 {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    served: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl TamperingS3 {
    /// Starts to listen. `pick` says of the list of all data files (keys, sorted) which one is tampered with; it is asked
    /// at each GET, and must give the same answer once that file is there.
    pub async fn start(
        upstream: &S3,
        bucket: &str,
        tamper: Tamper,
        pick: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let served = Arc::new(Mutex::new(Vec::new()));
        let state = Arc::new(State {
            client: upstream.client(),
            bucket: bucket.to_owned(),
            port: upstream.port,
            tamper,
            pick: Box::new(pick),
            served: served.clone(),
        });
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                tokio::spawn(async move { state.serve(stream).await });
            }
        });
        Ok(Self { endpoint, served, task: task.abort_handle() })
    }

    /// Keys that were served other than stored, once per request.
    pub fn served(&self) -> Vec<String> {
        self.served.lock().unwrap().clone()
    }
}

impl Drop for TamperingS3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct State {
    client: aws_sdk_s3::Client,
    bucket: String,
    port: u16,
    tamper: Tamper,
    pick: Box<dyn Fn(&str) -> bool + Send + Sync>,
    served: Arc<Mutex<Vec<String>>>,
}

impl State {
    /// One request per connection: `Connection: close` is added, which no signature covers.
    async fn serve(&self, mut client: TcpStream) -> Result {
        let Some((request, end)) = request(&mut client).await? else { return Ok(()) };
        let head = String::from_utf8_lossy(&request[..end]).into_owned();
        let mut words = head.split([' ', '\r']);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
        let key = path.strip_prefix(&format!("/{}/", self.bucket)).unwrap_or_default();
        // `x-id=GetObject` is what the SDK adds to the address of a GET.
        let is_object = method == "GET" && !key.is_empty() && (query.is_empty() || query == "x-id=GetObject");
        if is_object && (self.pick)(key) {
            self.served.lock().unwrap().push(key.to_owned());
            let range = head.lines().find_map(|l| {
                let (name, value) = l.split_once(':')?;
                name.eq_ignore_ascii_case("range").then(|| value.trim().to_owned())
            });
            let answer = self.answer(key, range.as_deref()).await?;
            client.write_all(&answer).await?;
            return Ok(client.shutdown().await?);
        }
        let mut server = TcpStream::connect(("127.0.0.1", self.port)).await?;
        server.write_all(head.as_bytes()).await?;
        server.write_all(b"\r\nConnection: close").await?;
        server.write_all(&request[end..]).await?;
        copy_bidirectional(&mut client, &mut server).await?;
        Ok(())
    }

    async fn answer(&self, key: &str, range: Option<&str>) -> Result<Vec<u8>> {
        let Some(body) = self.tampered(key).await? else {
            let text = "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>gone</Message></Error>";
            return Ok(respond("404 Not Found", "", text.as_bytes()));
        };
        let Some(range) = range else { return Ok(respond("200 OK", "", &body)) };
        let range = parse_range(range, body.len()).context("a range that this proxy does not know")?;
        if range.start >= body.len() {
            let text = "<?xml version=\"1.0\"?><Error><Code>InvalidRange</Code><Message>range</Message></Error>";
            return Ok(respond("416 Range Not Satisfiable", "", text.as_bytes()));
        }
        let header = format!("Content-Range: bytes {}-{}/{}\r\n", range.start, range.end - 1, body.len());
        Ok(respond("206 Partial Content", &header, &body[range]))
    }

    fn tampered<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Vec<u8>>> {
        Box::pin(async move {
            let mut body = self.get(key).await?;
            match &self.tamper {
                Tamper::Flip(at) => {
                    let at = at.unwrap_or(body.len() / 2);
                    *body.get_mut(at).context("the object is too short")? ^= 1;
                }
                Tamper::CutAtFrame => {
                    let first = zstd::zstd_safe::find_frame_compressed_size(&body).unwrap_or(body.len() / 2);
                    anyhow::ensure!(first < body.len(), "{key} has one frame only");
                    body.truncate(first);
                }
                Tamper::Swap => {
                    let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
                    let extension = name.split_once('.').map_or("", |(_, e)| e);
                    let listed = self.client.list_objects_v2().bucket(&self.bucket).prefix(folder).send().await?;
                    let other = listed
                        .contents()
                        .iter()
                        .filter_map(|o| o.key())
                        .find(|k| *k != key && k.ends_with(extension) && !k.ends_with("toc.dat"));
                    body = self.get(other.context("no other file")?).await?;
                }
                Tamper::Delete => return Ok(None),
            }
            Ok(Some(body))
        })
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let out = self.client.get_object().bucket(&self.bucket).key(key).send().await?;
        Ok(out.body.collect().await?.to_vec())
    }
}

/// The head of a request and what came with it, and where the head ends; `None`: nothing came.
pub(super) async fn request(client: &mut TcpStream) -> Result<Option<(Vec<u8>, usize)>> {
    let mut request = Vec::new();
    loop {
        if let Some(at) = request.windows(4).position(|w| w == b"\r\n\r\n") {
            return Ok(Some((request, at)));
        }
        if client.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
}

fn respond(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nContent-Type: application/octet-stream\r\n\
         Last-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n`.
fn parse_range(text: &str, size: usize) -> Option<Range<usize>> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some(match (from, to) {
        ("", n) => size.saturating_sub(n.parse().ok()?)..size,
        (from, "") => from.parse().ok()?..size,
        (from, to) => from.parse().ok()?..(to.parse::<usize>().ok()? + 1).min(size),
    })
}
