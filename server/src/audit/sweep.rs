//! Writes down from time to time where the chains are, and forgets events that are old enough.

use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use super::{keep_anchor, prune};
use crate::alerts;
use crate::app::App;

/// Sweeps until the server stops.
pub(crate) async fn sweep(app: App) {
    let mut anchoring = interval(app.config.audit.anchor_every);
    let mut retiring = interval(BETWEEN_PRUNINGS);
    loop {
        tokio::select! {
            _ = anchoring.tick() => keep_anchor(&app).await,
            _ = retiring.tick() => retire(&app).await,
            () = app.stop.requested() => return,
        }
    }
}

pub(super) async fn retire(app: &App) {
    if let Err(cause) = alerts::forget_old(app).await {
        warn!(%cause, "alerts that nobody takes could not be forgotten; tried again later");
    }
    let Some(retention) = app.config.audit.retention else {
        return;
    };
    match prune(app, app.clock.now() - retention).await {
        Ok(0) => {}
        Ok(events) => info!(events, "audit events past their retention were pruned"),
        Err(cause) => warn!(%cause, "the audit could not be pruned; tried again later"),
    }
}

const BETWEEN_PRUNINGS: Duration = Duration::from_secs(3_600);
