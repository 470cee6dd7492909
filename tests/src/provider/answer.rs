//! What the provider answers, by path, to those who show its key.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::vendors::{pieces, whole};
use super::{Seen, lock};

/// What the provider wants, and was asked.
pub(super) struct State {
    pub(super) key: Mutex<String>,
    pub(super) seen: Mutex<Vec<Seen>>,
    /// A stream goes on after its first piece when the caller says that it has it.
    pub(super) go_on: Notify,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl State {
    pub(super) async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        connection: u64,
    ) -> Answer {
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
