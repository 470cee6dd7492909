//! A service that takes what it is sent by HTTP, and keeps it for the story.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use crate::PATIENCE;

/// A webhook, or a collector.
pub struct Receiver {
    authority: String,
    status: Arc<AtomicU16>,
    sent: UnboundedReceiver<Sent>,
}

/// One request.
pub struct Sent {
    /// Its request line and fields.
    pub head: String,
    /// What came after them.
    pub body: Vec<u8>,
}

impl Sent {
    /// A field of the head.
    pub fn field(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.unwrap().1
    }
}

impl Receiver {
    /// Listens on a free port, and answers everything with this status.
    pub async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let (sender, sent) = unbounded_channel();
        let status = Arc::new(AtomicU16::new(status));
        let answers = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let received = answer(stream, &answers).await;
                if received.is_some_and(|received| sender.send(received).is_err()) {
                    return;
                }
            }
        });
        Self {
            authority,
            status,
            sent,
        }
    }

    /// Where it is.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }

    /// Answers with another status from now on.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// The next request, once it was answered.
    pub async fn next(&mut self) -> Sent {
        let next = timeout(PATIENCE, self.sent.recv()).await;
        next.expect("something is sent in time").unwrap()
    }

    /// What has come so far and was not looked at.
    pub fn so_far(&mut self) -> Vec<Sent> {
        std::iter::from_fn(|| self.sent.try_recv().ok()).collect()
    }
}

async fn answer(mut stream: TcpStream, status: &AtomicU16) -> Option<Sent> {
    let mut bytes = Vec::new();
    let sent = loop {
        let mut piece = [0; 4096];
        let read = stream.read(&mut piece).await.ok();
        let count = read.filter(|count| *count > 0)?;
        bytes.extend_from_slice(&piece[..count]);
        if let Some(sent) = whole(&bytes) {
            break sent;
        }
    };
    let status = status.load(Ordering::Relaxed);
    let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.ok()?;
    Some(sent)
}

fn whole(bytes: &[u8]) -> Option<Sent> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (&bytes[..end], &bytes[end + 4..]);
    let sent = Sent {
        head: String::from_utf8_lossy(head).into_owned(),
        body: body.to_vec(),
    };
    let length: usize = sent.field("content-length").parse().unwrap();
    (body.len() >= length).then_some(sent)
}
