//! What the server says about itself.

use std::time::Duration;

use hyper::StatusCode;
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use super::reply::{self, Reply};
use super::{request, websocket};
use crate::app::App;
use crate::delivery;
use crate::error::ApiError;
use crate::vault::policy::DEFAULT_LEASE;

/// The answer of `GET /`.
#[derive(Serialize)]
pub(super) struct Index {
    message: &'static str,
    version: &'static str,
    endpoints: [&'static str; 15],
}

/// The answer of `GET /.well-known/keyferry`.
#[derive(Serialize)]
pub(super) struct Instance {
    service: &'static str,
    version: &'static str,
    protocol: &'static str,
    instance_id: uuid::Uuid,
    #[serde(flatten)]
    keys: delivery::Published,
    suites: [&'static str; 1],
    limits: Limits,
}

#[derive(Serialize)]
struct Limits {
    value_bytes: usize,
    body_bytes: usize,
    message_bytes: usize,
    ticket_seconds: u64,
    lease_seconds: u32,
}

pub(super) const fn index() -> Index {
    Index {
        message: "Keyferry",
        version: VERSION,
        endpoints: ENDPOINTS,
    }
}

pub(super) async fn instance(app: &App) -> Result<Instance, ApiError> {
    Ok(Instance {
        service: SERVICE,
        version: VERSION,
        protocol: "keyferry.v1",
        instance_id: app.instance,
        keys: delivery::published(app),
        suites: ["hybrid"],
        limits: Limits {
            value_bytes: keyferry_protocol::memory::MAX_VALUE,
            body_bytes: request::MAX_BODY,
            message_bytes: websocket::MAX_MESSAGE,
            ticket_seconds: delivery::TICKET_LIFE.as_secs(),
            lease_seconds: DEFAULT_LEASE,
        },
    })
}

pub(super) async fn health(app: &App) -> Result<Reply, ApiError> {
    let connected = is_connected(app).await;
    let (status, database) = if connected {
        ("healthy", "connected")
    } else {
        ("degraded", "disconnected")
    };
    let body = json!({
        "status": status,
        "database": database,
        "cache": "in_process",
        "version": VERSION,
        "service": SERVICE,
    });
    reply::json(ok_if(connected), &body)
}

pub(super) async fn ready(app: &App) -> Result<Reply, ApiError> {
    let ready = is_connected(app).await;
    reply::json(ok_if(ready), &json!({ "ready": ready }))
}

pub(super) async fn database(app: &App) -> Result<Reply, ApiError> {
    let connected = is_connected(app).await;
    let status = if connected {
        "connected"
    } else {
        "disconnected"
    };
    let engine = app.store.engine();
    let body = json!({ "database_connected": connected, "status": status, "engine": engine });
    reply::json(ok_if(connected), &body)
}

async fn is_connected(app: &App) -> bool {
    timeout(PATIENCE, app.store.ping())
        .await
        .is_ok_and(|answer| answer.is_ok())
}

const fn ok_if(well: bool) -> StatusCode {
    if well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

/// A database that takes longer than this does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
const SERVICE: &str = "keyferry-server";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const ENDPOINTS: [&str; 15] = [
    "/health",
    "/ready",
    "/database/status",
    "/.well-known/jwks.json",
    "/.well-known/keyferry",
    "/auth/register",
    "/auth/login",
    "/auth/refresh",
    "/auth/logout",
    "/auth/me",
    "/keys",
    "/keys/{name}",
    "/vms",
    "/vms/{id}",
    "/agent",
];
