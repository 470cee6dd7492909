//! From a request to its answer.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use hyper::body::Incoming;
use hyper::header::{TRANSFER_ENCODING, UPGRADE};
use hyper::{Request, StatusCode};
use tracing::debug;
use uuid::Uuid;

use super::raw_head::Refusal;
use super::reply::{self, Reply, closing};
use super::request::Head;
use super::routes::ROUTES;
use super::table::{self, Call};
use super::{Connection, client, correlation, origins};
use crate::error::ApiError;
use crate::sessions::Origin;
use crate::store::uuid_v7;

/// Answers one request of a connection.
pub(super) async fn answer(
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    connection.answering.store(true, Ordering::Relaxed);
    let app = &connection.app;
    let headers = request.headers();
    let new_id = || uuid_v7(app.clock.now(), &mut app.rng());
    let request_id = correlation::of(headers).unwrap_or_else(new_id);
    let proxies = &app.config.web.trusted_proxies;
    let origin = Origin {
        request_id,
        peer: Some(client::address(connection.peer, headers, proxies)),
        user_agent: client::user_agent(headers),
    };
    let page = origins::admitted(&app.config, headers);
    let client = origin.peer.unwrap_or(connection.peer);
    let seated = connection.seat.of_client(client);
    // After these fields the bytes that follow are not another request.
    let last = [UPGRADE, TRANSFER_ENCODING]
        .iter()
        .any(|name| request.headers().contains_key(name));
    let routed = if request.method().as_str() == "REFUSED" {
        Err(refused(request.uri().path()))
    } else if let Err(foreign) = origins::host_is_ours(&app.config, request.uri(), headers) {
        Err(foreign)
    } else if origins::is_preflight(&request) {
        Ok(origins::preflight())
    } else if let Some(seat) = seated {
        let connection = Connection {
            seat,
            ..connection.clone()
        };
        route(&connection, &origin, request).await
    } else {
        Err(ApiError::Overloaded)
    };
    let reply = routed.unwrap_or_else(|refused| refuse(&refused, request_id));
    let mut reply = match reply.status() {
        StatusCode::SWITCHING_PROTOCOLS => reply,
        _ if last => closing(reply),
        _ => reply,
    };
    origins::allow(&mut reply, page);
    connection.answering.store(false, Ordering::Relaxed);
    debug!(request = %request_id, status = reply.status().as_u16(), "answered");
    Ok(reply::finish(reply, request_id))
}

async fn route(
    connection: &Connection,
    origin: &Origin,
    request: Request<Incoming>,
) -> Result<Reply, ApiError> {
    let head = Head::new(&request);
    let route = table::find(ROUTES, &head.method, &head.path())?;
    let call = Call {
        connection,
        origin,
        head: &head,
        route,
        budget: OnceLock::new(),
    };
    let reply = (route.handle)(&call, request).await;
    let Some(left) = call.budget.get() else {
        return reply;
    };
    let mut reply = reply.unwrap_or_else(|refused| refuse(&refused, origin.request_id));
    reply::tell_budget(&mut reply, left);
    Ok(reply)
}

fn refuse(refused: &ApiError, request_id: Uuid) -> Reply {
    reply::log(refused, request_id);
    reply::problem(refused)
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
