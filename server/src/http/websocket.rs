//! The upgrade of `GET /agent` to a WebSocket.

use base64ct::{Base64, Encoding};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use super::describe::Made;
use super::reply;
use super::table::Call;
use crate::delivery;
use crate::error::ApiError;

/// Answers the upgrade, and hands the WebSocket to a delivery session once it is there.
pub(super) async fn upgrade(
    call: &Call<'_>,
    mut request: Request<Incoming>,
) -> Result<Made<()>, ApiError> {
    let connection = call.connection;
    let accept = accept(request.method(), request.headers()).ok_or(ApiError::UpgradeRequired)?;
    if connection.app.stop.is_draining() {
        return Err(ApiError::Overloaded);
    }
    // Turned away while it is still HTTP: an agent takes a close after the upgrade for a refusal.
    let client = call.origin.peer.unwrap_or(connection.peer);
    let place = connection.app.attached.handshake(client);
    let place = place.ok_or(ApiError::Overloaded)?;
    let upgrading = hyper::upgrade::on(&mut request);
    let connection = connection.clone();
    tokio::spawn(async move {
        let stream = match upgrading.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(cause) => return debug!(%cause, "an agent left before its connection was upgraded"),
        };
        let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(bounds())).await;
        let knock = delivery::session::Knock { socket, place };
        delivery::session::run(connection.app.clone(), knock).await;
        drop(connection.seat);
    });
    let mut reply = reply::empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = reply.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(reply.into())
}

/// The accept key, when this is a WebSocket upgrade to our protocol (RFC 6455 §4.2.1).
fn accept(method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    let key = headers.get(SEC_WEBSOCKET_KEY)?;
    let mut nonce = [0; 16];
    let asks = method == Method::GET
        && lists(headers, &CONNECTION, "upgrade")
        && lists(headers, &UPGRADE, "websocket")
        && lists(headers, &SEC_WEBSOCKET_VERSION, "13")
        && lists(headers, &SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        && Base64::decode(key.as_bytes(), &mut nonce).is_ok_and(|nonce| nonce.len() == 16);
    asks.then(|| derive_accept_key(key.as_bytes()))
        .and_then(|key| HeaderValue::try_from(key).ok())
}

fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case(wanted))
}

fn bounds() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE)
}

const PROTOCOL: &str = "keyferry.v1";
/// The largest message, in bytes.
pub(super) const MAX_MESSAGE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, Method};

    use super::accept;

    /// The example of RFC 6455 §1.3.
    fn asking() -> HeaderMap {
        let fields = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "keyferry.v1"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        fields
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_accept_key_is_the_one_of_the_rfc() {
        let key = accept(&Method::GET, &asking()).unwrap();
        assert_eq!(key, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn anything_less_than_a_whole_upgrade_is_refused() {
        assert!(accept(&Method::POST, &asking()).is_none());
        for missing in asking().keys() {
            let mut fields = asking();
            fields.remove(missing);
            assert!(accept(&Method::GET, &fields).is_none(), "{missing}");
        }
        let mut short = asking();
        short.insert("sec-websocket-key", "c2hvcnQ=".parse().unwrap());
        assert!(accept(&Method::GET, &short).is_none());
    }
}
