//! Throws away what has ended: sessions, tokens of every kind, and failures that no longer count.

use std::time::Duration;

use tracing::{debug, warn};

use super::{key_ring, seen};
use crate::app::App;
use crate::store::StoreError;

/// Sweeps until the server stops.
pub(crate) async fn sweep(app: App) {
    let mut round = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => break,
        }
        if let Err(cause) = key_ring::reload(&app).await {
            warn!(%cause, "the signing keys could not be read; tried again later");
        }
        match once(&app).await {
            Ok(0) => {}
            Ok(rows) => debug!(rows, "swept sessions that have ended"),
            Err(cause) => warn!(%cause, "sessions could not be swept; tried again later"),
        }
    }
}

/// One round: how many rows are gone.
pub(crate) async fn once(app: &App) -> Result<u64, StoreError> {
    seen::write_down(app).await?;
    let now = app.clock.now();
    let sessions = app.store.delete_ended_sessions(now - KNOWN, now).await?;
    let lockout = app.config.limits.lockout;
    let keys = app.store.retire_old_signing_keys(now).await?;
    let failures = app.store.delete_old_login_failures(now - lockout).await?;
    let tokens = app.store.delete_expired_proofs(now).await?;
    let programs = app.store.delete_revoked_service_keys(now - KNOWN).await?;
    Ok(sessions + keys + failures + tokens + programs)
}

const EVERY: Duration = Duration::from_secs(30);
/// How long a session that has ended is still known: a stolen token that turns up is told of.
const KNOWN: Duration = Duration::from_secs(24 * 3_600);
