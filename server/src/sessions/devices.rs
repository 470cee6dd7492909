//! From which devices a user has signed in.

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::list::{ended_by, tell};
use super::{Origin, SignedIn};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::network::Network;
use crate::page::{List, Page};
use crate::store::{DeviceId, NewDevice, StoredDevice, UnixTime, UserId};

/// What a client calls itself, and its neighbourhood: that is how one device differs from another.
pub(super) struct Device {
    user_agent: String,
    network: String,
}

/// A device as its user sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OwnDevice {
    id: DeviceId,
    user_agent: String,
    network: String,
    first_seen_at: UnixTime,
    last_seen_at: UnixTime,
}

impl Device {
    pub(super) fn of(origin: &Origin) -> Option<Self> {
        let network = Network::of_neighbours(origin.peer?).to_string();
        let user_agent = origin.user_agent.as_deref().unwrap_or_default().to_owned();
        Some(Self {
            user_agent,
            network,
        })
    }

    pub(super) fn row(&self, user_id: UserId, id: DeviceId, seen_at: UnixTime) -> NewDevice<'_> {
        let mut mark = Sha256::new();
        mark.update(self.user_agent.as_bytes());
        mark.update([0]);
        mark.update(self.network.as_bytes());
        NewDevice {
            id,
            user_id,
            mark: mark.finalize().into(),
            user_agent: &self.user_agent,
            network: &self.network,
            seen_at,
        }
    }
}

/// Lists the caller's devices, the newest first.
pub(crate) async fn list_devices(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<OwnDevice>, ApiError> {
    let before = page.after_id()?;
    let stored = app.store.devices(caller.user_id(), before, page.rows());
    let shown = stored.await?.into_iter().map(OwnDevice::from);
    Ok(List::new(shown.collect(), page, |one| one.id.to_string()))
}

/// Forgets one of the caller's devices, and ends the sessions that it has.
pub(crate) async fn forget_device(
    app: &App,
    caller: &SignedIn,
    id: DeviceId,
) -> Result<(), ApiError> {
    caller.session_id()?;
    let (actor, subject) = (caller.actor(), id.to_string());
    let mut change = app.store.begin().await?;
    let now = app.clock.now();
    let ended = change.forget_device(caller.user_id(), id, now).await?;
    let ended = ended.ok_or(ApiError::NotFound)?;
    let entry = Entry {
        subject: Some(&subject),
        ..ended_by(caller, &actor, "auth.device_forgotten")
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    tell(app, &ended);
    Ok(())
}

impl From<StoredDevice> for OwnDevice {
    fn from(stored: StoredDevice) -> Self {
        Self {
            id: stored.id,
            user_agent: stored.user_agent,
            network: stored.network,
            first_seen_at: stored.first_seen_at,
            last_seen_at: stored.last_seen_at,
        }
    }
}
