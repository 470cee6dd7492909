//! A provider of AI: the part of each vendor's API that the stories call, on localhost, with a
//! certificate of a private authority.

mod answer;
mod vendors;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use answer::State;

use crate::{Authority, Secret, Stage};

/// A running provider. It answers those who show its key, in whatever way its SDK does.
pub struct Provider {
    port: u16,
    authority: PathBuf,
    state: Arc<State>,
    running: AbortHandle,
}

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, whatever is offered.
    Http1,
    /// HTTP/2, and HTTP/1.1 with who does not ask for it.
    Both,
    /// HTTP/2, and nothing else.
    Http2,
}

/// What a request showed.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `POST /v1/chat/completions`
    pub line: String,
    /// The header fields, `name: value`.
    pub fields: Vec<String>,
    /// Which connection it came on.
    pub connection: u64,
}

impl Provider {
    /// Starts it on a free port.
    pub async fn start(stage: &Stage, key: &Secret) -> Self {
        Self::start_speaking(Speaks::Http1, stage, key).await
    }

    /// The same, with what it speaks.
    pub async fn start_speaking(speaks: Speaks, stage: &Stage, key: &Secret) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let authority = stage.path(&format!("authority-{port}.pem"));
        let acceptor = acceptor(&authority, speaks);
        let state = Arc::new(State {
            key: Mutex::new(key.text().to_owned()),
            seen: Mutex::default(),
            go_on: Notify::new(),
        });
        let running = tokio::spawn(listen(listener, acceptor, Arc::clone(&state))).abort_handle();
        Self {
            port,
            authority,
            state,
            running,
        }
    }

    /// For `--allow-host`.
    pub fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// For `--allow-host`, where the name is made to lead to it.
    pub fn host_named(&self) -> String {
        format!("{NAME}:{}", self.port)
    }

    /// The certificate of its authority.
    pub fn authority(&self) -> &Path {
        &self.authority
    }

    /// Settings of an agent whose proxy may go there.
    pub fn agent_settings(&self) -> String {
        let authority = self.authority.display();
        format!("[proxy]\nallow_private = [\"localhost\"]\nca_file = \"{authority}\"\n")
    }

    /// From now on it wants another key.
    pub fn rotate(&self, key: &Secret) {
        *lock(&self.state.key) = key.text().to_owned();
    }

    /// Lets a stream go on after its first piece.
    pub fn go_on(&self) {
        self.state.go_on.notify_one();
    }

    /// What it was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state.seen).clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn acceptor(authority: &Path, speaks: Speaks) -> TlsAcceptor {
    let private = Authority::new();
    std::fs::write(authority, private.pem()).unwrap();
    let (certificate, own) = private.certify(&["localhost", NAME]);
    let own = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], own)
        .unwrap();
    config.alpn_protocols = match speaks {
        Speaks::Http1 => Vec::new(),
        Speaks::Both => vec![HTTP2.to_vec(), b"http/1.1".to_vec()],
        Speaks::Http2 => vec![HTTP2.to_vec()],
    };
    TlsAcceptor::from(Arc::new(config))
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut connection = 0;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        connection += 1;
        let (acceptor, state) = (acceptor.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            // Those who do not trust it hang up.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let used = Arc::new(AtomicBool::new(false));
            let service = service_fn(move |request: Request<Incoming>| {
                let (state, used) = (Arc::clone(&state), used.swap(true, Ordering::Relaxed));
                let of_head = request.method() == Method::HEAD;
                async move {
                    let tired = used && request.uri().path() == "/v1/fresh-only";
                    let mut answer = state.answer(request, connection).await;
                    if of_head {
                        *answer.body_mut() = Full::default().boxed_unsync();
                    }
                    // It hangs up without a word.
                    if tired {
                        Err(io::Error::other("tired"))
                    } else {
                        Ok(answer)
                    }
                }
            });
            let speaks_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
            let stream = TokioIo::new(stream);
            if speaks_http2 {
                let http = http2::Builder::new(TokioExecutor::new());
                let _however_it_ended = http.serve_connection(stream, service).await;
            } else {
                let http = http1::Builder::new();
                let serving = http.serve_connection(stream, service);
                let _however_it_ended = serving.with_upgrades().await;
            }
        });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const HTTP2: &[u8] = b"h2";
/// Its name in machines where `localhost` is another.
const NAME: &str = "provider.test";
