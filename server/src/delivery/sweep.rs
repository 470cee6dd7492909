//! Throws away what has ended: overlapped versions, old tickets, retired credentials, notes.

use std::time::Duration;

use tracing::{debug, warn};

use crate::app::App;
use crate::store::StoreError;

/// Sweeps until the server stops.
pub(crate) async fn sweep(app: App) {
    let mut round = tokio::time::interval(app.config.sweep_every);
    loop {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => return,
        }
        match once(&app).await {
            Ok(0) => {}
            Ok(rows) => debug!(rows, "swept what has ended"),
            Err(cause) => warn!(%cause, "what has ended could not be swept; tried again later"),
        }
    }
}

/// One round: how many rows were changed or are gone.
pub(crate) async fn once(app: &App) -> Result<u64, StoreError> {
    let now = app.clock.now();
    let versions = app.store.destroy_overlapped_versions(now).await?;
    let tickets = app.store.delete_ended_tickets(now - TICKETS_KNOWN).await?;
    let credentials = app
        .store
        .delete_retired_credentials(now - CREDENTIALS_KNOWN)
        .await?;
    let enrolments = app.store.delete_ended_enrolments(now).await?;
    let keys = app.store.retire_old_server_keys(now).await?;
    let changes = app.store.delete_old_changes(now - CHANGES_KNOWN).await?;
    Ok(versions + tickets + credentials + enrolments + keys + changes)
}

/// Far longer than any server is behind the others.
const CHANGES_KNOWN: Duration = Duration::from_secs(3600);
/// How long an ended ticket is still known, so that its use can be told from a guess.
const TICKETS_KNOWN: Duration = Duration::from_secs(24 * 3600);
/// How long a retired credential can give a clone away.
const CREDENTIALS_KNOWN: Duration = Duration::from_secs(30 * 24 * 3600);
