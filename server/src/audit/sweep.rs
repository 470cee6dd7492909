//! Writes down from time to time where the chains are, and forgets events that are old enough.

use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use super::{Anchors, prune};
use crate::app::App;
use crate::data_dir::DataDir;

/// Sweeps until the server stops.
pub(crate) async fn sweep(app: App) {
    let mut round = interval(EVERY);
    let mut written: Option<Anchors> = None;
    let mut rounds: u32 = 0;
    loop {
        let stops = tokio::select! {
            _ = round.tick() => false,
            () = app.stop.requested() => true,
        };
        if rounds.is_multiple_of(ROUNDS_TO_PRUNE) {
            retire(&app).await;
        }
        rounds = rounds.wrapping_add(1);
        keep_anchor(&app, &mut written).await;
        if stops {
            return;
        }
    }
}

async fn retire(app: &App) {
    let Some(retention) = app.config.audit.retention else {
        return;
    };
    match prune(app, app.clock.now() - retention).await {
        Ok(0) => {}
        Ok(events) => info!(events, "audit events past their retention were pruned"),
        Err(cause) => warn!(%cause, "the audit could not be pruned; tried again later"),
    }
}

async fn keep_anchor(app: &App, written: &mut Option<Anchors>) {
    let now = match Anchors::take(app).await {
        Ok(now) => now,
        Err(cause) => return warn!(%cause, "the audit's end could not be read; tried again later"),
    };
    if written
        .as_ref()
        .is_some_and(|last| last.chains == now.chains)
    {
        return;
    }
    let kept = DataDir::prepare(&app.config.data_dir).map_err(Into::into);
    match kept.and_then(|data_dir| now.write(&data_dir)) {
        Ok(()) => *written = Some(now),
        Err(cause) => warn!(%cause, "the audit's anchor could not be written; tried again later"),
    }
}

const EVERY: Duration = Duration::from_secs(30);
const ROUNDS_TO_PRUNE: u32 = 120;
