//! How much there is on this server.

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;
use crate::sessions::ServerAdmin;
use crate::store::Counts;

/// Counts of what the database holds, and what runs it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Stats {
    #[serde(flatten)]
    counts: Counts,
    /// Agents that are connected to the server that answers.
    agents_connected: usize,
    engine: &'static str,
    version: &'static str,
}

/// Counts everything.
pub(crate) async fn stats(app: &App, _admin: &ServerAdmin) -> Result<Stats, ApiError> {
    Ok(Stats {
        counts: app.store.counts(app.clock.now()).await?,
        agents_connected: app.attached.count(),
        engine: app.store.engine(),
        version: env!("CARGO_PKG_VERSION"),
    })
}
