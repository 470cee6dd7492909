//! From a request to its answer.

use std::convert::Infallible;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{TRANSFER_ENCODING, UPGRADE};
use hyper::{Method, Request, StatusCode};
use tokio::time::Instant;
use tracing::debug;
use uuid::Uuid;

use super::raw_head::Refusal;
use super::reply::{self, Reply, closing};
use super::request::Head;
use super::routes::ROUTES;
use super::table::{self, Call, Route};
use super::{Connection, client, correlation, origins};
use crate::app::App;
use crate::config::Certified;
use crate::error::ApiError;
use crate::metrics::Answered;
use crate::sessions::Origin;
use crate::store::uuid_v7;

/// Answers one request of a connection.
pub(super) async fn answer(
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let began = Instant::now();
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
    let head = Head::new(&request);
    let found = table::find(ROUTES, &head.method, &head.path());
    let pattern = found.as_ref().map_or("none", |route| route.path);
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
        match found {
            Ok(found) => route(&connection, &origin, (&head, found), request).await,
            Err(unknown) => Err(unknown),
        }
    } else {
        Err(ApiError::Overloaded)
    };
    let reply = routed.unwrap_or_else(|refused| refuse(app, &refused, request_id));
    let mut reply = match reply.status() {
        StatusCode::SWITCHING_PROTOCOLS => reply,
        _ if last || app.stop.is_draining() => closing(reply),
        _ => reply,
    };
    origins::allow(&mut reply, page);
    // Events go on, and say themselves when they end.
    if matches!(reply.body(), Either::Left(_)) {
        connection.answering.store(false, Ordering::Relaxed);
    }
    app.metrics.answered(&Answered {
        method: known_method(&head.method),
        route: pattern,
        status: reply.status().as_u16(),
        seconds: began.elapsed().as_secs_f64(),
    });
    debug!(request = %request_id, status = reply.status().as_u16(), "answered");
    Ok(reply::finish(reply, request_id))
}

async fn route(
    connection: &Connection,
    origin: &Origin,
    (head, route): (&Head, &'static Route),
    request: Request<Incoming>,
) -> Result<Reply, ApiError> {
    if !is_certified(connection, route) {
        return Err(ApiError::CertificateMissing);
    }
    let call = Call {
        connection,
        origin,
        head,
        route,
        budget: OnceLock::new(),
    };
    let reply = (route.handle)(&call, request).await;
    let Some(left) = call.budget.get() else {
        return reply;
    };
    let mut reply =
        reply.unwrap_or_else(|refused| refuse(&connection.app, &refused, origin.request_id));
    reply::tell_budget(&mut reply, left);
    Ok(reply)
}

fn refuse(app: &App, refused: &ApiError, request_id: Uuid) -> Reply {
    app.metrics.refused(refused.code());
    reply::log(refused, request_id);
    reply::problem(refused)
}

/// A stranger's own word for a method is not kept.
fn known_method(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let found = known.into_iter().find(|known| method.as_str() == *known);
    found.unwrap_or("other")
}

/// Whether the client has shown the certificate that the operator wants it to. How the server is,
/// everybody may ask, its own container among them.
fn is_certified(connection: &Connection, route: &Route) -> bool {
    connection.certified
        || match connection.app.config.tls.clients {
            Certified::Nobody => true,
            Certified::Agents => route.path != "/agent",
            Certified::Everybody => ["/health", "/ready"].contains(&route.path),
        }
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
