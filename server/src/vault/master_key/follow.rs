//! How a running server takes part when an operator replaces the master key.

use std::time::Duration;

use keyferry_protocol::memory::LockedBox;
use tokio::time::interval;
use tracing::{error, info, warn};

use super::{MasterKeyError, SETTING};
use crate::app::App;
use crate::stop::Stopper;
use crate::vault::seal::{self, Sealed, Unsealable};

/// Looks for a new master key until the server stops; stops it when the key it has is retired.
pub(crate) async fn follow(app: App, stopper: Stopper) {
    let mut round = interval(EVERY);
    loop {
        tokio::select! {
            _ = round.tick() => {}
            () = app.stop.requested() => return,
        }
        match look(&app).await {
            Ok(()) => {}
            Err(cause @ MasterKeyError::Superseded) => {
                error!(%cause, "this server can neither open nor seal anything");
                return stopper.stop();
            }
            Err(cause) => warn!(%cause, "the master key could not be looked after; tried again"),
        }
    }
}

/// Learns the new key of a change that has begun, and forgets the old one of a change that is over.
async fn look(app: &App) -> Result<(), MasterKeyError> {
    if let Some(rotation) = app.store.master_key_rotation().await? {
        return app.master_key.take_up(&rotation);
    }
    let known = app.store.setting(SETTING).await?;
    if known.as_deref() != Some(app.master_key.current().printed_id().as_str()) {
        return Err(MasterKeyError::Superseded);
    }
    if app.master_key.is_changing() {
        app.master_key.forget_old()?;
        info!("the master key was replaced");
    }
    Ok(())
}

/// Opens a record; one that another server has sealed under a new master key first makes this
/// server look for that.
pub(crate) async fn open(
    app: &App,
    context: &[u8],
    sealed: &Sealed,
) -> Result<LockedBox, Unsealable> {
    match seal::open(&app.master_key, context, sealed) {
        Err(Unsealable::OtherMasterKey) => {
            if let Err(cause) = look(app).await {
                warn!(%cause, "the master key could not be looked after");
            }
            seal::open(&app.master_key, context, sealed)
        }
        opened => opened,
    }
}

/// Well within the time that a change leaves for it.
const EVERY: Duration = Duration::from_secs(1);
