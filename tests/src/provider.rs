//! A provider of AI: the part of each vendor's API that the stories call, on localhost, with a
//! certificate of a private authority.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

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

struct State {
    key: Mutex<String>,
    seen: Mutex<Vec<Seen>>,
    /// A stream goes on after its first piece when the caller says that it has it.
    go_on: Notify,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

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

const HTTP2: &[u8] = b"h2";
/// Its name in machines where `localhost` is another.
const NAME: &str = "provider.test";

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

impl State {
    async fn answer(self: Arc<Self>, mut request: Request<Incoming>, connection: u64) -> Answer {
        let (path, query) = (
            request.uri().path().to_owned(),
            request.uri().query().unwrap_or_default().to_owned(),
        );
        let fields = request.headers().iter();
        let fields = fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        let mut fields: Vec<String> = fields.collect();
        // In HTTP/2 the host is no field.
        let host = request.uri().authority();
        fields.extend(host.map(|host| format!("host: {host}")));
        let line = format!("{} {}", request.method(), request.uri());
        let known = fields.iter().any(|field| self.shows_key(field));
        let seen = Seen {
            line,
            fields,
            connection,
        };
        lock(&self.seen).push(seen);
        if !known {
            return plain(
                StatusCode::UNAUTHORIZED,
                &json!({ "error": { "message": "wrong key" } }),
            );
        }
        if path == "/v1/websocket" {
            return websocket(&mut request);
        }
        let Ok(body) = request.into_body().collect().await else {
            return plain(StatusCode::BAD_REQUEST, &json!({}));
        };
        let trailers = body.trailers().cloned().unwrap_or_default();
        let body = body.to_bytes();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let streams = asked["stream"] == true || query.contains("alt=sse");
        match path.as_str() {
            "/v1/go-on" => {
                self.go_on.notify_one();
                plain(StatusCode::OK, &json!({}))
            }
            "/v1/upload" => plain(
                StatusCode::OK,
                &json!({ "length": body.len(), "sha256": hex(&Sha256::digest(&body)) }),
            ),
            "/v1/trailers" => with_trailers(body, trailers),
            "/v1/redirect" => redirect(&query),
            "/v1/limited" => limited(),
            path if streams => self.events(pieces(path)),
            path => plain(StatusCode::OK, &whole(path)),
        }
    }

    fn shows_key(&self, field: &str) -> bool {
        let key = lock(&self.key).clone();
        ["authorization: Bearer ", "x-api-key: ", "x-goog-api-key: "]
            .iter()
            .any(|name| field.strip_prefix(name) == Some(key.as_str()))
    }

    /// The first event at once, the others when the caller has it.
    fn events(self: &Arc<Self>, events: Vec<String>) -> Answer {
        let state = Arc::clone(self);
        let events = stream::iter(events.into_iter().enumerate()).then(move |(number, event)| {
            let state = Arc::clone(&state);
            async move {
                if number == 1 {
                    state.go_on.notified().await;
                }
                Ok(Frame::data(Bytes::from(event)))
            }
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(StreamBody::new(events).boxed_unsync())
            .unwrap()
    }
}

fn plain(status: StatusCode, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string()));
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body.boxed_unsync())
        .unwrap()
}

/// Says body and trailers back.
fn with_trailers(body: Bytes, trailers: HeaderMap) -> Answer {
    let frames = [Frame::data(body), Frame::trailers(trailers)].map(Ok);
    let body = StreamBody::new(stream::iter(frames));
    Response::new(body.boxed_unsync())
}

fn redirect(to: &str) -> Answer {
    let mut answer = plain(StatusCode::TEMPORARY_REDIRECT, &json!({}));
    let to = to.parse().unwrap();
    answer.headers_mut().insert("location", to);
    answer
}

/// An error with everything that a client might look at.
fn limited() -> Answer {
    let mut answer = plain(
        StatusCode::TOO_MANY_REQUESTS,
        &json!({ "error": { "message": "slow down", "type": "tokens", "code": "rate_limit_exceeded" } }),
    );
    let fields = answer.headers_mut();
    fields.insert("retry-after", "7".parse().unwrap());
    fields.insert("x-ratelimit-remaining-tokens", "0".parse().unwrap());
    answer
}

/// Says back what it hears.
fn websocket(request: &mut Request<Incoming>) -> Answer {
    let key = request.headers().get("sec-websocket-key").unwrap();
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                break;
            }
        }
    });
    let mut answer = plain(StatusCode::SWITCHING_PROTOCOLS, &json!({}));
    *answer.body_mut() = Full::new(Bytes::new()).boxed_unsync();
    let fields = answer.headers_mut();
    fields.insert("upgrade", "websocket".parse().unwrap());
    fields.insert("connection", "Upgrade".parse().unwrap());
    fields.insert("sec-websocket-accept", accept.parse().unwrap());
    answer
}

/// What each vendor says to a question, in its own words.
fn whole(path: &str) -> Value {
    match Vendor::of(path) {
        Vendor::OpenAi => json!({
            "id": "chat-1", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{
                "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": "ferried" },
            }],
            "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
        }),
        Vendor::Anthropic => json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{ "type": "text", "text": "ferried" }],
            "stop_reason": "end_turn", "stop_sequence": null,
            "usage": { "input_tokens": 1, "output_tokens": 1 },
        }),
        Vendor::Google => candidate("ferried"),
    }
}

/// The same in two pieces: `fer`, then `ried` and the end.
fn pieces(path: &str) -> Vec<String> {
    match Vendor::of(path) {
        Vendor::OpenAi => {
            let chunk = |text| {
                let choice = json!({ "index": 0, "delta": { "content": text } });
                json!({
                    "id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [choice],
                })
            };
            let (first, second) = (chunk("fer"), chunk("ried"));
            vec![
                format!("data: {first}\n\n"),
                format!("data: {second}\n\ndata: [DONE]\n\n"),
            ]
        }
        Vendor::Anthropic => {
            let mut message = whole(path);
            message["content"] = json!([]);
            let block = json!({ "type": "text", "text": "" });
            let delta = |text| {
                let delta = json!({ "type": "text_delta", "text": text });
                event(&json!({ "type": "content_block_delta", "index": 0, "delta": delta }))
            };
            let first = [
                event(&json!({ "type": "message_start", "message": message })),
                event(
                    &json!({ "type": "content_block_start", "index": 0, "content_block": block }),
                ),
                delta("fer"),
            ];
            let end = json!({ "stop_reason": "end_turn", "stop_sequence": null });
            let usage = json!({ "output_tokens": 2 });
            let second = [
                delta("ried"),
                event(&json!({ "type": "content_block_stop", "index": 0 })),
                event(&json!({ "type": "message_delta", "delta": end, "usage": usage })),
                event(&json!({ "type": "message_stop" })),
            ];
            vec![first.concat(), second.concat()]
        }
        Vendor::Google => ["fer", "ried"]
            .map(|text| format!("data: {}\n\n", candidate(text)))
            .to_vec(),
    }
}

enum Vendor {
    OpenAi,
    Anthropic,
    Google,
}

impl Vendor {
    /// Groq's paths end as OpenAI's do.
    fn of(path: &str) -> Self {
        match path {
            "/v1/messages" => Self::Anthropic,
            path if path.contains("generateContent") || path.contains("GenerateContent") => {
                Self::Google
            }
            _ => Self::OpenAi,
        }
    }
}

fn candidate(text: &str) -> Value {
    let content = json!({ "parts": [{ "text": text }], "role": "model" });
    json!({ "candidates": [{ "content": content, "finishReason": "STOP", "index": 0 }] })
}

fn event(data: &Value) -> String {
    let kind = data["type"].as_str().unwrap();
    format!("event: {kind}\ndata: {data}\n\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
