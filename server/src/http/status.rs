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
use crate::store::Condition;
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
    let database = condition(app).await;
    let cache = cache(app);
    let well = database == Some(Condition::Well) && cache != DISCONNECTED;
    let health = Health {
        status: if well { "healthy" } else { "degraded" },
        database: named(database),
        cache,
        version: VERSION,
        service: SERVICE,
    };
    Made::json(ok_if(database), &health)
}

pub(super) async fn ready(app: &App) -> Result<Made<Readiness>, ApiError> {
    let database = condition(app).await.filter(|_| !app.stop.is_draining());
    let ready = database == Some(Condition::Well);
    Made::json(ok_if(database), &Readiness { ready })
}

pub(super) async fn database(app: &App) -> Result<Made<Database>, ApiError> {
    let condition = condition(app).await;
    let database = Database {
        database_connected: condition.is_some(),
        status: named(condition),
        engine: app.store.engine(),
    };
    Made::json(ok_if(condition), &database)
}

/// Without it the server serves all the same, and counts by itself.
fn cache(app: &App) -> &'static str {
    match &app.cache {
        None => "in_process",
        Some(cache) if cache.is_connected() => CONNECTED,
        Some(_) => DISCONNECTED,
    }
}

/// What the database can do, when it answers.
async fn condition(app: &App) -> Option<Condition> {
    let answer = timeout(PATIENCE, app.store.condition()).await;
    answer.ok()?.ok()
}

const fn named(database: Option<Condition>) -> &'static str {
    match database {
        Some(Condition::Well) => CONNECTED,
        Some(Condition::Full) => "full",
        Some(Condition::ReadOnly) => "read_only",
        Some(Condition::Failing) => "failing",
        None => DISCONNECTED,
    }
}

const fn ok_if(database: Option<Condition>) -> StatusCode {
    match database {
        Some(Condition::Well) => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A database that takes longer than this does not answer.
const PATIENCE: Duration = Duration::from_secs(2);
const CONNECTED: &str = "connected";
const DISCONNECTED: &str = "disconnected";
const SERVICE: &str = "keyferry-server";
const VERSION: &str = env!("CARGO_PKG_VERSION");
