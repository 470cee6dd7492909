//! The certificate is read again when its files change, or when the operator says so by SIGHUP.

use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::app::App;
use crate::http::{Identity, Reloaded};

/// Looks until the server stops.
pub(super) async fn renew_certificate(app: App) {
    let Some(identity) = &app.identity else {
        return;
    };
    let Ok(mut told) = signal(SignalKind::hangup()) else {
        return warn!("SIGHUP cannot be listened to; the certificate is not read again");
    };
    let mut seen = changed(identity);
    loop {
        tokio::select! {
            _ = told.recv() => {}
            () = sleep(EVERY) => {
                let now = changed(identity);
                if now == seen {
                    continue;
                }
                seen = now;
            }
            () = app.stop.requested() => return,
        }
        reload(identity);
    }
}

fn reload(identity: &Identity) {
    match identity.reload() {
        Ok(Reloaded::Unchanged) => {}
        Ok(Reloaded::Renewed) => info!("the TLS certificate was renewed"),
        Ok(Reloaded::AnotherKey) => {
            let fingerprint = identity.fingerprint();
            warn!(%fingerprint, "the TLS certificate has another key: who pins the old one does not connect");
        }
        Err(cause) => {
            let deeper = std::error::Error::source(&cause).map(ToString::to_string);
            warn!(%cause, deeper, "the TLS certificate cannot be used; the old one stays");
        }
    }
}

/// When each file was last written.
fn changed(identity: &Identity) -> Vec<Option<SystemTime>> {
    let written = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
    identity.files().map(|path| written(path)).collect()
}

const EVERY: Duration = Duration::from_secs(2);
