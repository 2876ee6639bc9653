//! A Slack incoming webhook of the tests' own, which serves as a monitor of scheduled jobs as well.

use super::Result;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

/// An answer: status, and seconds for `Retry-After`.
pub type Answer = (u16, Option<u32>);

/// A request: method and address, and the body.
pub type Request = (String, String);

/// Takes posts on loopback, answers them as scripted (then always 200), and keeps their addresses and bodies.
#[derive(Debug)]
pub struct Slack {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    task: AbortHandle,
}

impl Slack {
    /// Starts to listen. The answers are given in this order.
    pub async fn start(answers: impl IntoIterator<Item = Answer>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = requests.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, kept) = (answers.clone(), kept.clone());
                tokio::spawn(async move { serve(stream, &answers, &kept).await });
            }
        });
        Ok(Self { port, requests, task: task.abort_handle() })
    }

    /// The webhook's address; its path is a secret.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/services/T000/B000/mArKeDhook", self.port)
    }

    /// A check's address, with a query of its own; its path is a secret.
    pub fn ping_url(&self) -> String {
        format!("http://127.0.0.1:{}/mArKeDping/nightly?create=1", self.port)
    }

    /// All requests, also those that were refused.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The bodies of all posts, also of those that were refused.
    pub fn bodies(&self) -> Vec<String> {
        self.requests().into_iter().map(|(_, body)| body).collect()
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, answers: &Mutex<VecDeque<Answer>>, requests: &Mutex<Vec<Request>>) -> Result {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let what = line.rsplit_once(' ').map_or("", |(what, _)| what).to_owned();
        if what.is_empty() {
            return Ok(());
        }
        line.clear();
        while stream.read_line(&mut line).await? > 2 {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            line.clear();
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        requests.lock().unwrap().push((what, String::from_utf8_lossy(&body).into_owned()));
        let (status, retry) = answers.lock().unwrap().pop_front().unwrap_or((200, None));
        let retry = retry.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
        let text = if status == 200 { "ok" } else { "no" };
        let head = format!("HTTP/1.1 {status} Said\r\n{retry}Content-Length: {}\r\n\r\n{text}", text.len());
        stream.get_mut().write_all(head.as_bytes()).await?;
    }
}
