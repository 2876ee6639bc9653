//! An S3 server that refuses, breaks or hangs where it is told to.

use super::{Result, proxy::request, s3::S3};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Put,
    Part,
    Create,
    Complete,
    Get,
    Head,
    List,
    ListUploads,
    Delete,
    Abort,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is answered by an error: status, S3's code, message.
    Answer(u16, &'static str, &'static str),
    /// It is passed on, but the answer's body is an error, with a status of 200.
    ErrorIn200(&'static str),
    /// The connection is closed without an answer.
    Reset,
    /// The connection is closed behind these bytes of the answer.
    ResetAfter(usize),
    /// Nothing comes any more.
    Silent,
    /// The answer comes, but so much later.
    Late(Duration),
    /// A list is answered as if nothing lay there yet.
    EmptyList,
    /// The last byte of its body is another one.
    OtherByte,
    /// The answer comes with this CRC32.
    OtherCrc(&'static str),
    /// The answer comes without CRC32, and with a tag that is no MD5.
    NoSums,
}

/// Which requests, and how many of them.
#[derive(Clone, Copy, Debug)]
pub struct When {
    pub op: Op,
    /// A part of the key.
    pub key: &'static str,
    /// So many pass before.
    pub behind: u32,
    pub times: u32,
}

/// A proxy in front of the tests' S3 server.
#[derive(Debug)]
pub struct FaultyS3 {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    met: Arc<AtomicU32>,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: AbortHandle,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub op: Option<Op>,
    /// Its first line and headers, in lower case.
    pub head: String,
}

impl Seen {
    /// Whether it has this header.
    pub fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.split_once(':').is_some_and(|(name, _)| name == header))
    }
}

impl FaultyS3 {
    pub async fn start(upstream: &S3, bucket: &str, when: When, fault: Fault) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://127.0.0.1:{}", listener.local_addr()?.port());
        let (met, port, bucket) = (Arc::new(AtomicU32::new(0)), upstream.port, bucket.to_owned());
        let (count, seen) = (met.clone(), Arc::new(Mutex::new(Vec::new())));
        let seeing = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (count, bucket, seen) = (count.clone(), bucket.clone(), seeing.clone());
                tokio::spawn(async move { serve(stream, port, &bucket, when, fault, (&count, &seen)).await });
            }
        });
        Ok(Self { endpoint, met, seen, task: task.abort_handle() })
    }

    /// One that passes everything on, and tells what came.
    pub async fn watching(upstream: &S3, bucket: &str) -> Result<Self> {
        let never = When { op: Op::Put, key: "", behind: 0, times: 0 };
        Self::start(upstream, bucket, never, Fault::Reset).await
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests met it.
    pub fn met(&self) -> u32 {
        self.met.load(Ordering::SeqCst)
    }
}

impl Drop for FaultyS3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn op(method: &str, query: &str) -> Option<Op> {
    let has = |name: &str| query.split('&').any(|q| q == name || q.starts_with(&format!("{name}=")));
    Some(match method {
        "PUT" if has("partNumber") => Op::Part,
        "PUT" => Op::Put,
        "POST" if has("uploads") => Op::Create,
        "POST" if has("uploadId") => Op::Complete,
        "DELETE" if has("uploadId") => Op::Abort,
        "POST" | "DELETE" => Op::Delete,
        "GET" if has("list-type") => Op::List,
        "GET" if has("uploads") => Op::ListUploads,
        "GET" => Op::Get,
        "HEAD" => Op::Head,
        _ => return None,
    })
}

/// One request per connection: `Connection: close` is added, which no signature covers.
async fn serve(
    mut client: TcpStream,
    port: u16,
    bucket: &str,
    when: When,
    fault: Fault,
    (met, seen): (&AtomicU32, &Mutex<Vec<Seen>>),
) -> Result {
    let Some((request, end)) = request(&mut client).await? else { return Ok(()) };
    let head = String::from_utf8_lossy(&request[..end]).into_owned();
    let mut words = head.split([' ', '\r']);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let key = path.strip_prefix(&format!("/{bucket}")).unwrap_or_default();
    let whole = format!("{key}?{query}");
    seen.lock().unwrap().push(Seen { op: op(method, query), head: head.to_ascii_lowercase() });
    let wanted = op(method, query) == Some(when.op) && whole.contains(when.key);
    let number = if wanted { met.fetch_add(1, Ordering::SeqCst) } else { 0 };
    let hit = wanted && (when.behind..when.behind.saturating_add(when.times)).contains(&number);
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut pass = async |client: &mut TcpStream| {
        server.write_all(head.as_bytes()).await?;
        server.write_all(b"\r\nConnection: close").await?;
        server.write_all(&request[end..]).await?;
        copy_bidirectional(client, &mut server).await
    };
    if !hit {
        pass(&mut client).await?;
        return Ok(());
    }
    match fault {
        Fault::Reset => {
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        }
        Fault::Silent => std::future::pending::<()>().await,
        Fault::Late(pause) => {
            tokio::time::sleep(pause).await;
            pass(&mut client).await?;
        }
        Fault::ResetAfter(bytes) => {
            server.write_all(head.as_bytes()).await?;
            server.write_all(b"\r\nConnection: close").await?;
            server.write_all(&request[end..]).await?;
            let mut answer = vec![0; bytes];
            let n = server.read(&mut answer).await?;
            client.write_all(&answer[..n]).await?;
        }
        Fault::OtherByte | Fault::OtherCrc(_) | Fault::NoSums => {
            let mut body = request[end + 4..].to_vec();
            let missing = length(&head).saturating_sub(body.len());
            let at = body.len();
            body.resize(at + missing, 0);
            client.read_exact(&mut body[at..]).await?;
            if let (Fault::OtherByte, Some(last)) = (fault, body.last_mut()) {
                *last ^= 1;
            }
            server.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
            server.write_all(&body).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            if let Fault::OtherCrc(_) | Fault::NoSums = fault {
                let text = String::from_utf8(answer)?;
                let is = |line: &str, header: &str| line.to_ascii_lowercase().starts_with(header);
                let lines = text.split("\r\n").map(|line| match fault {
                    Fault::OtherCrc(crc) if is(line, "x-amz-checksum-crc32:") => format!("x-amz-checksum-crc32: {crc}"),
                    Fault::NoSums if is(line, "x-amz-checksum-crc32:") => "x-nothing: 0".to_owned(),
                    Fault::NoSums if is(line, "etag:") => "ETag: \"a-tag-of-another-kind\"".to_owned(),
                    _ => line.to_owned(),
                });
                answer = lines.collect::<Vec<_>>().join("\r\n").into_bytes();
            }
            client.write_all(&answer).await?;
            client.shutdown().await?;
        }
        Fault::Answer(..) | Fault::ErrorIn200(_) | Fault::EmptyList => {
            answer(&mut client, &head, request.len() - end - 4, fault).await?;
            client.shutdown().await?;
        }
    }
    Ok(())
}

/// Bytes of a request's body.
fn length(head: &str) -> usize {
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    length.unwrap_or(0)
}

/// Answers a request, `came` bytes of whose body were read with its head.
async fn answer(client: &mut TcpStream, head: &str, came: usize, fault: Fault) -> Result {
    // What is on its way is taken first: a closed connection would tell nothing.
    let mut left = length(head).saturating_sub(came);
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let n = client.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        left = left.saturating_sub(n);
    }
    let (status, code, message) = match fault {
        Fault::Answer(status, code, message) => (status, code, message),
        Fault::ErrorIn200(code) => (200, code, "We encountered an internal error"),
        _ => (200, "", ""),
    };
    let list = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><KeyCount>0</KeyCount>\
                <IsTruncated>false</IsTruncated></ListBucketResult>";
    let body = if code.is_empty() {
        list.to_owned()
    } else {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>")
    };
    let body = if head.starts_with("HEAD ") { String::new() } else { body };
    let region = if status == 301 { "x-amz-bucket-region: eu-north-1\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status} X\r\n{region}Content-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    client.write_all(head.as_bytes()).await?;
    Ok(())
}
