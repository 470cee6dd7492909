//! From a request to its answer.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::{TRANSFER_ENCODING, UPGRADE};
use hyper::{Method, Request, StatusCode};
use tokio::time::Instant;
use tracing::{Instrument, Span, debug};
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
use crate::limits;
use crate::metrics::Answered;
use crate::sessions::Origin;
use crate::store::uuid_v7;
use crate::traces;

/// What is known of a request from its head.
struct Asked {
    began: Instant,
    origin: Origin,
    head: Head,
    /// The pattern of its route; never its path.
    pattern: &'static str,
    /// After fields such as these the bytes that follow are not another request.
    is_last: bool,
}

/// Answers one request of a connection.
pub(super) async fn answer(
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    connection.answering.store(true, Ordering::Relaxed);
    let app = &connection.app;
    let page = origins::admitted(&app.config, request.headers());
    let (asked, found) = Asked::of(&connection, &request);
    let asked = Arc::new(asked);
    let request_id = asked.origin.request_id;
    let span = asked.span(&connection);
    let reply = Arc::clone(&asked).routed(connection.clone(), found, request);
    let reply = reply.instrument(span.clone()).await;
    let mut reply = reply.unwrap_or_else(|refused| refuse(app, &refused, request_id));
    let goes_on = reply.status() == StatusCode::SWITCHING_PROTOCOLS;
    if !goes_on && (asked.is_last || app.stop.is_draining()) {
        reply = closing(reply);
    }
    origins::allow(&mut reply, page);
    // Events go on, and say themselves when they end.
    if matches!(reply.body(), Either::Left(_)) {
        connection.answering.store(false, Ordering::Relaxed);
    }
    asked.count(app, &span, reply.status());
    Ok(reply::finish(reply, request_id))
}

impl Asked {
    fn of(
        connection: &Connection,
        request: &Request<Incoming>,
    ) -> (Self, Result<&'static Route, ApiError>) {
        let (app, headers) = (&connection.app, request.headers());
        let proxies = &app.config.web.trusted_proxies;
        let new_id = || uuid_v7(app.clock.now(), &mut app.rng());
        let origin = Origin {
            request_id: correlation::of(headers).unwrap_or_else(new_id),
            peer: Some(client::address(connection.peer, headers, proxies)),
            user_agent: client::user_agent(headers),
        };
        let head = Head::new(request);
        let found = table::find(ROUTES, &head.method, &head.path());
        let asked = Self {
            began: Instant::now(),
            origin,
            head,
            pattern: found.as_ref().map_or("none", |route| route.path),
            is_last: [UPGRADE, TRANSFER_ENCODING]
                .iter()
                .any(|name| headers.contains_key(name)),
        };
        (asked, found)
    }

    /// A trace that somebody else has begun goes on here only when a proxy of ours says so: a
    /// stranger could put what he asks into the traces of others.
    fn span(&self, connection: &Connection) -> Span {
        let method = known_method(&self.head.method);
        let span = traces::request(method, self.pattern, self.origin.request_id);
        let proxies = &connection.app.config.web.trusted_proxies;
        if client::is_proxy(connection.peer, proxies)
            && let Some(caller) = correlation::caller(&self.head.headers)
        {
            traces::follow(&span, caller);
        }
        span
    }

    /// What changes something is finished even when its client hangs up, and holds its seat until
    /// then: nobody gets around the count of wrong passwords by not waiting for the answer.
    async fn routed(
        self: Arc<Self>,
        connection: Connection,
        found: Result<&'static Route, ApiError>,
        request: Request<Incoming>,
    ) -> Result<Reply, ApiError> {
        if self.head.changes_nothing() {
            return self.reply(&connection, found, request).await;
        }
        let work = async move { self.reply(&connection, found, request).await };
        let done = tokio::spawn(work.in_current_span()).await;
        done.map_err(ApiError::internal)?
    }

    async fn reply(
        &self,
        connection: &Connection,
        found: Result<&'static Route, ApiError>,
        request: Request<Incoming>,
    ) -> Result<Reply, ApiError> {
        let client = self.origin.peer.unwrap_or(connection.peer);
        let seated = connection.seat.of_client(client);
        if request.method().as_str() == "REFUSED" {
            return Err(refused(request.uri().path()));
        }
        origins::host_is_ours(&connection.app.config, request.uri(), request.headers())?;
        if origins::is_preflight(&request) {
            return Ok(origins::preflight());
        }
        let connection = Connection {
            seat: seated.ok_or(ApiError::Overloaded)?,
            ..connection.clone()
        };
        route(&connection, &self.origin, (&self.head, found?), request).await
    }

    fn count(&self, app: &App, span: &Span, status: StatusCode) {
        traces::answered(span, status.as_u16());
        app.metrics.answered(&Answered {
            method: known_method(&self.head.method),
            route: self.pattern,
            status: status.as_u16(),
            seconds: self.began.elapsed().as_secs_f64(),
        });
        let request_id = self.origin.request_id;
        debug!(request = %request_id, status = status.as_u16(), "answered");
    }
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
    let reply = limits::proof(&connection.app, origin, reply).await;
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
