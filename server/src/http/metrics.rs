//! `GET /metrics`, for who shows the operator's token, or on a listener of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::describe::Readings;
use super::reply::{self, Reply};
use super::table::Call;
use crate::app::App;
use crate::error::ApiError;
use crate::metrics;

/// Tells the metrics to who shows the token. Without a token set there is no such route.
pub(super) async fn show(call: &Call<'_>) -> Result<Readings, ApiError> {
    let app = &call.connection.app;
    let token = app.config.metrics.token.as_ref();
    let token = token.ok_or(ApiError::NotFound)?;
    if !shows(&call.head.headers, token) {
        return Err(ApiError::Unauthenticated);
    }
    let text = metrics::show(app).await.map_err(ApiError::internal)?;
    Ok(Readings(text))
}

/// Tells the metrics on a listener of their own until the server stops.
pub(crate) async fn serve(app: App, listener: TcpListener) {
    let seats = Arc::new(Semaphore::new(SEATS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stop.requested() => return,
        };
        match (accepted, Arc::clone(&seats).try_acquire_owned()) {
            (Ok((stream, _)), Ok(seat)) => {
                let app = app.clone();
                tokio::spawn(async move {
                    // However slow the reader is, its seat is free again after this.
                    let _slow = timeout(app.config.connections.body, converse(&app, stream)).await;
                    drop(seat);
                });
            }
            (Ok(_), Err(_)) => debug!("too many read the metrics at once"),
            (Err(cause), _) => {
                warn!(%cause, "a connection to the metrics could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(app: &App, stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(answer(app, &request).await)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.connections.head)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(cause) = served {
        debug!(%cause, "a reader of the metrics left early");
    }
}

async fn answer(app: &App, request: &Request<Incoming>) -> Reply {
    let token = app.config.metrics.token.as_ref();
    if token.is_some_and(|token| !shows(request.headers(), token)) {
        return reply::problem(&ApiError::Unauthenticated);
    }
    if (request.method(), request.uri().path()) != (&Method::GET, "/metrics") {
        return reply::problem(&ApiError::NotFound);
    }
    match metrics::show(app).await {
        Ok(text) => reply::with_body(StatusCode::OK, metrics::MEDIA_TYPE, text.into_bytes()),
        Err(cause) => reply::problem(&ApiError::internal(cause)),
    }
}

fn shows(headers: &HeaderMap, token: &SecretString) -> bool {
    let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| value.strip_prefix(b"Bearer "));
    shown.is_some_and(|shown| shown.ct_eq(token.expose_secret().as_bytes()).into())
}

const SEATS: usize = 16;
