//! A service that takes what it is sent by HTTP, and keeps it for the story.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::PATIENCE;

/// A webhook, or a collector.
pub struct Receiver {
    origin: String,
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
        Self::listen(status, None).await
    }

    /// The same behind TLS, for `localhost`; `authority` is where its certificate is put.
    pub async fn start_with_tls(status: u16, authority: &Path) -> Self {
        Self::listen(status, Some(acceptor(authority))).await
    }

    async fn listen(status: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = match tls {
            None => format!("http://{address}"),
            Some(_) => format!("https://localhost:{}", address.port()),
        };
        let (sender, sent) = unbounded_channel();
        let status = Arc::new(AtomicU16::new(status));
        let answers = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match &tls {
                    None => answer(stream, (&answers, &sender)).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, (&answers, &sender)).await;
                        }
                    }
                }
            }
        });
        Self {
            origin,
            status,
            sent,
        }
    }

    /// Where it is.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Answers with another status from now on.
    pub fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// The next request.
    pub async fn next(&mut self) -> Sent {
        let next = timeout(PATIENCE, self.sent.recv()).await;
        next.expect("something is sent in time").unwrap()
    }

    /// What has come so far and was not looked at.
    pub fn so_far(&mut self) -> Vec<Sent> {
        std::iter::from_fn(|| self.sent.try_recv().ok()).collect()
    }
}

/// Told of before it is answered: whoever has the answer finds it here.
async fn answer<S>(mut stream: S, (status, sender): (&AtomicU16, &UnboundedSender<Sent>))
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    let sent = loop {
        let mut piece = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut piece).await else {
            return;
        };
        bytes.extend_from_slice(&piece[..count]);
        if let Some(sent) = whole(&bytes) {
            break sent;
        }
    };
    let status = status.load(Ordering::Relaxed);
    let answer = format!("HTTP/1.1 {status} -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    if sender.send(sent).is_err() {
        return;
    }
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        let _gone = stream.shutdown().await;
    }
}

/// A certificate that is its own authority.
fn acceptor(authority: &Path) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(authority, made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key))
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
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
