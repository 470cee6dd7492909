//! The whole HTTP surface, one line per endpoint: method, path, who may call it, what it takes.
//!
//! A handler that needs a signed-in caller takes a [`SignedIn`](crate::sessions::SignedIn), and
//! only `sessions` can make one: leaving the check out of a line does not compile.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{TRANSFER_ENCODING, UPGRADE};
use hyper::{Method, Request, StatusCode};
use tracing::debug;

use super::raw_head::Refusal;
use super::reply::{self, Reply, closing, empty, json};
use super::request::{Body, Head};
use super::{Connection, status, websocket};
use crate::error::ApiError;
use crate::sessions::{self, Origin};
use crate::store::uuid_v7;
use crate::{accounts, delivery, vault};

#[expect(clippy::too_many_lines, reason = "a table reads best whole")]
async fn route(
    connection: &Connection,
    origin: &Origin,
    request: Request<Incoming>,
) -> Result<Reply, ApiError> {
    let app = &connection.app;
    let head = Head::new(&request);
    let path = head.path();
    // Asked before the body is read.
    let caller = async || sessions::signed_in(app, origin, head.bearer()).await;
    if (&head.method, path.as_slice()) == (&Method::GET, &["agent"]) {
        return websocket::upgrade(connection, request);
    }
    let body = Body::new(request.into_body(), app.config.connections.body);
    match (&head.method, path.as_slice()) {
        (&Method::GET, []) => json(StatusCode::OK, &status::index()),
        (&Method::GET, ["health"]) => status::health(app).await,
        (&Method::GET, ["ready"]) => status::ready(app).await,
        (&Method::GET, ["database", "status"]) => status::database(app).await,
        (&Method::GET, [".well-known", "jwks.json"]) => {
            json(StatusCode::OK, &app.signing_keys.published())
        }
        (&Method::GET, [".well-known", "keyferry"]) => {
            json(StatusCode::OK, &status::instance(app).await?)
        }

        (&Method::POST, ["auth", "register"]) => {
            let account = body.json(&head).await?;
            let registered = accounts::register(app, origin, account).await?;
            json(StatusCode::CREATED, &registered).map(closing)
        }
        (&Method::POST, ["auth", "login"]) => {
            let answer = sessions::sign_in(app, origin, body.json(&head).await?).await?;
            json(StatusCode::OK, &answer).map(closing)
        }
        (&Method::POST, ["auth", "refresh"]) => {
            let answer = sessions::refresh(app, origin, body.json(&head).await?).await?;
            json(StatusCode::OK, &answer)
        }
        (&Method::POST, ["auth", "logout"]) => {
            sessions::sign_out(app, &caller().await?).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        (&Method::GET, ["auth", "me"]) => {
            json(StatusCode::OK, &accounts::me(app, &caller().await?).await?)
        }

        //VAULT
        _ => Err(ApiError::NotFound),
    }
}

/// Answers one request of a connection.
pub(super) async fn answer(
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    connection.answering.store(true, Ordering::Relaxed);
    let app = &connection.app;
    let request_id = uuid_v7(app.clock.now(), &mut app.rng());
    let origin = Origin {
        request_id,
        peer: Some(connection.peer),
    };
    // After these fields the bytes that follow are not another request.
    let last = [UPGRADE, TRANSFER_ENCODING]
        .iter()
        .any(|name| request.headers().contains_key(name));
    let routed = if request.method().as_str() == "REFUSED" {
        Err(refused(request.uri().path()))
    } else {
        Box::pin(route(&connection, &origin, request)).await
    };
    let reply = routed.unwrap_or_else(|refused| {
        reply::log(&refused, request_id);
        reply::problem(&refused)
    });
    let reply = match reply.status() {
        StatusCode::SWITCHING_PROTOCOLS => reply,
        _ if last => closing(reply),
        _ => reply,
    };
    connection.answering.store(false, Ordering::Relaxed);
    debug!(request = %request_id, status = reply.status().as_u16(), "answered");
    Ok(reply::finish(reply, request_id))
}

/// What the guard's stand-in for a refused head tells of.
fn refused(path: &str) -> ApiError {
    ApiError::MalformedRequest(match Refusal::of_path(path) {
        Refusal::TooLarge => return ApiError::HeadTooLarge,
        Refusal::Syntax => "The request head is not well formed.",
        Refusal::BareLineFeed => "A line of the request head ends with a bare line feed.",
        Refusal::Lengths => "The length of the body is not told in exactly one way.",
        Refusal::Host => "There must be exactly one Host.",
    })
}
