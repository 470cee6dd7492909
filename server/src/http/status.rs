//! What the server says about itself.

use std::time::Duration;

use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use super::describe::Made;
use super::routes::ROUTES;
use super::{request, websocket};
use crate::app::App;
use crate::delivery;
use crate::error::ApiError;
use crate::vault::policy::DEFAULT_LEASE;

/// The answer of `GET /`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Index {
    message: &'static str,
    version: &'static str,
    endpoints: Vec<&'static str>,
}

/// The answer of `GET /.well-known/keyferry`.
#[derive(Serialize, JsonSchema)]
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

/// The answer of `GET /health`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Health {
    status: &'static str,
    database: &'static str,
    cache: &'static str,
    version: &'static str,
    service: &'static str,
}

/// The answer of `GET /ready`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Readiness {
    ready: bool,
}

/// The answer of `GET /database/status`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Database {
    database_connected: bool,
    status: &'static str,
    engine: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct Limits {
    value_bytes: usize,
    body_bytes: usize,
    message_bytes: usize,
    ticket_seconds: u64,
    lease_seconds: u32,
}

pub(super) async fn index() -> Result<Index, ApiError> {
    let mut endpoints = Vec::new();
    for route in ROUTES {
        if !endpoints.contains(&route.path) {
            endpoints.push(route.path);
        }
    }
    Ok(Index {
        message: "Keyferry",
        version: VERSION,
        endpoints,
    })
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

pub(super) async fn health(app: &App) -> Result<Made<Health>, ApiError> {
    let connected = is_connected(app).await;
    let cache = cache(app);
    let well = connected && cache != DISCONNECTED;
    let health = Health {
        status: if well { "healthy" } else { "degraded" },
        database: if connected { CONNECTED } else { DISCONNECTED },
        cache,
        version: VERSION,
        service: SERVICE,
    };
    Made::json(ok_if(connected), &health)
}

pub(super) async fn ready(app: &App) -> Result<Made<Readiness>, ApiError> {
    let ready = !app.stop.is_draining() && is_connected(app).await;
    Made::json(ok_if(ready), &Readiness { ready })
}

pub(super) async fn database(app: &App) -> Result<Made<Database>, ApiError> {
    let connected = is_connected(app).await;
    let database = Database {
        database_connected: connected,
        status: if connected { CONNECTED } else { DISCONNECTED },
        engine: app.store.engine(),
    };
    Made::json(ok_if(connected), &database)
}

/// Without it the server serves all the same, and counts by itself.
fn cache(app: &App) -> &'static str {
    match &app.cache {
        None => "in_process",
        Some(cache) if cache.is_connected() => CONNECTED,
        Some(_) => DISCONNECTED,
    }
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
const CONNECTED: &str = "connected";
const DISCONNECTED: &str = "disconnected";
const SERVICE: &str = "keyferry-server";
const VERSION: &str = env!("CARGO_PKG_VERSION");
