//! The certificate is read again when its files change, or when the operator says so by SIGHUP.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::app::App;
use crate::http::{Identity, Reloaded};
use crate::reread::written;

/// Looks until the server stops.
pub(super) async fn renew_certificate(app: App) {
    let Some(identity) = &app.identity else {
        return;
    };
    let Ok(mut told) = signal(SignalKind::hangup()) else {
        return warn!("SIGHUP cannot be listened to; the certificate is not read again");
    };
    let mut seen = written(identity.files());
    loop {
        tokio::select! {
            _ = told.recv() => {}
            () = sleep(EVERY) => {
                let now = written(identity.files());
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

const EVERY: Duration = Duration::from_secs(2);
