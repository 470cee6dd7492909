//! How a running server learns of key pairs that a command or another server has made.

use std::time::Duration;

use tokio::time::interval;
use tracing::{info, warn};

use super::{Keeper, ServerKeysError};
use crate::app::App;

/// Reads the pairs again now and then, until the server stops.
pub(crate) async fn follow(app: App) {
    let mut round = interval(EVERY);
    loop {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => return,
        }
        if let Err(cause) = reload(&app).await {
            warn!(%cause, "the server's own keys could not be read; tried again later");
        }
    }
}

/// Looks for new pairs, for an agent that seems to know one. Not more often than now and then,
/// since strangers can make us look.
pub(crate) async fn look(app: &App) -> bool {
    if !app.server_keys.may_look(app.clock.now(), PAUSE) {
        return false;
    }
    reload(app).await.unwrap_or_else(|cause| {
        warn!(%cause, "the server's own keys could not be read");
        false
    })
}

/// Reads the pairs again; whether there were others.
pub(crate) async fn reload(app: &App) -> Result<bool, ServerKeysError> {
    let changed = app
        .server_keys
        .reload(&Keeper::of(app), &mut app.rng())
        .await?;
    if changed {
        info!("the server's own keys have changed");
    }
    Ok(changed)
}

const EVERY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);
