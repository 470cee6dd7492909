//! The whole HTTP surface, one line per endpoint: method, path, who may call it, what it takes.
//!
//! A handler that needs a signed-in caller takes a [`SignedIn`](crate::sessions::SignedIn), and
//! only `sessions` can make one: leaving the check out of a line does not compile.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{TRANSFER_ENCODING, UPGRADE};
use hyper::{Method, Request, StatusCode};
use keyferry_protocol::ids::KeyName;
use tracing::debug;

use super::raw_head::Refusal;
use super::reply::{self, Reply, closing, empty, json};
use super::request::{Body, Head};
use super::{Connection, status, websocket};
use crate::error::ApiError;
use crate::sessions::{self, Origin};
use crate::store::{VmId, uuid_v7};
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

        (&Method::GET, ["keys"]) => {
            let caller = caller().await?;
            json(
                StatusCode::OK,
                &vault::list(app, &caller, &head.page()?).await?,
            )
        }
        (&Method::PUT, ["keys", name]) => {
            let (caller, name) = (caller().await?, key_name(name)?);
            let key = vault::put(app, &caller, name, body.json(&head).await?).await?;
            json(StatusCode::CREATED, &key).map(closing)
        }
        (&Method::GET, ["keys", name]) => {
            let (caller, name) = (caller().await?, key_name(name)?);
            json(StatusCode::OK, &vault::show(app, &caller, name).await?)
        }
        (&Method::DELETE, ["keys", name]) => {
            let (caller, name) = (caller().await?, key_name(name)?);
            vault::remove(app, &caller, name).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        (&Method::POST, ["keys", name, "rotate"]) => {
            let (caller, name) = (caller().await?, key_name(name)?);
            let key = vault::rotate(app, &caller, name, body.json(&head).await?).await?;
            json(StatusCode::OK, &key).map(closing)
        }
        (&Method::POST, ["keys", name, "revoke"]) => {
            let (caller, name) = (caller().await?, key_name(name)?);
            body.none().await?;
            json(StatusCode::OK, &vault::revoke(app, &caller, name).await?)
        }
        (&Method::GET, ["keys", name, "versions"]) => {
            let (caller, name) = (caller().await?, key_name(name)?);
            json(
                StatusCode::OK,
                &vault::versions(app, &caller, name, &head.page()?).await?,
            )
        }

        (&Method::GET, ["vms"]) => {
            let caller = caller().await?;
            json(
                StatusCode::OK,
                &delivery::list_vms(app, &caller, &head.page()?).await?,
            )
        }
        (&Method::POST, ["vms"]) => {
            let caller = caller().await?;
            let vm = delivery::add_vm(app, &caller, body.json(&head).await?).await?;
            json(StatusCode::CREATED, &vm)
        }
        (&Method::GET, ["vms", id]) => {
            let (caller, id) = (caller().await?, vm_id(id)?);
            json(StatusCode::OK, &delivery::show_vm(app, &caller, id).await?)
        }
        (&Method::PATCH, ["vms", id]) => {
            let (caller, id) = (caller().await?, vm_id(id)?);
            let change = body.json(&head).await?;
            json(
                StatusCode::OK,
                &delivery::change_vm(app, &caller, id, change).await?,
            )
        }
        (&Method::DELETE, ["vms", id]) => {
            let (caller, id) = (caller().await?, vm_id(id)?);
            delivery::remove_vm(app, &caller, id).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        (&Method::POST, ["vms", id, "ticket"]) => {
            let (caller, id) = (caller().await?, vm_id(id)?);
            body.none().await?;
            let ticket = delivery::issue_ticket(app, &caller, id).await?;
            json(StatusCode::CREATED, &ticket).map(closing)
        }
        (&Method::POST, ["vms", id, "wipe"]) => {
            let (caller, id) = (caller().await?, vm_id(id)?);
            body.none().await?;
            json(
                StatusCode::ACCEPTED,
                &delivery::wipe_vm(app, &caller, id).await?,
            )
        }
        (&Method::GET, ["vms", id, "held"]) => {
            let (caller, id) = (caller().await?, vm_id(id)?);
            json(
                StatusCode::OK,
                &delivery::held(app, &caller, id, &head.page()?).await?,
            )
        }

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

fn key_name(text: &str) -> Result<KeyName, ApiError> {
    let faulty = || {
        ApiError::invalid(
            "name",
            "is 1 to 64 letters, digits, hyphens, dots or underscores",
        )
    };
    text.parse().map_err(|_| faulty())
}

/// An id that is none belongs to no VM.
fn vm_id(text: &str) -> Result<VmId, ApiError> {
    text.parse().map_err(|_| ApiError::NotFound)
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
