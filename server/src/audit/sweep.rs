//! Writes down from time to time where the chains are, and forgets events that are old enough.

use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use super::{Anchors, prune};
use crate::alerts;
use crate::app::App;
use crate::data_dir::DataDir;

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

/// Writes down where the chains are, beside the server's keys.
pub(crate) async fn keep_anchor(app: &App) {
    let kept = async {
        let data_dir = DataDir::prepare(&app.config.data_dir)?;
        Anchors::take(app).await?.write(&data_dir)
    };
    if let Err(cause) = kept.await {
        let deeper = std::error::Error::source(&cause).map(ToString::to_string);
        warn!(%cause, deeper, "the audit's anchor could not be kept; tried again later");
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
