//! Names that a server of an earlier version changes while this one runs beside it are found again.

use std::time::Duration;

use tokio::time::interval;
use tracing::warn;

use crate::app::App;

/// Folds them until the server stops.
pub(crate) async fn fold_names(app: App) {
    let mut round = interval(EVERY);
    loop {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => return,
        }
        if let Err(cause) = app.store.fold_names().await {
            warn!(%cause, "names could not be folded; tried again later");
        }
    }
}

const EVERY: Duration = Duration::from_secs(3_600);
