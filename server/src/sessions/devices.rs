//! From which devices a user has signed in.

use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::list::{commit_end, ended_by};
use super::{Origin, SignedIn};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::mail::Mail;
use crate::network::Network;
use crate::page::{List, Page};
use crate::store::{DeviceId, NewDevice, StoreError, StoredDevice, StoredUser, UnixTime, UserId};

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

/// Mails the user about a new device, to an address that is proven to be theirs.
pub(super) fn tell_owner(app: &App, origin: &Origin, user: UserId) {
    let (later, origin) = (app.clone(), origin.clone());
    let told = app.background.spawn(async move {
        if let Err(cause) = mail_owner(&later, &origin, user).await {
            warn!(%cause, "nobody was told of a new device");
        }
    });
    if let Err(cause) = told {
        warn!(%cause, "nobody was told of a new device");
    }
}

async fn mail_owner(app: &App, origin: &Origin, user: UserId) -> Result<(), StoreError> {
    let user = app.store.user_by_id(user).await?;
    let email = user
        .filter(StoredUser::email_verified)
        .and_then(|user| user.email());
    let (Some(email), Some(device)) = (email, Device::of(origin)) else {
        return Ok(());
    };
    let text = format!(
        "A new device has signed in to your Keyferry account.\n\nTime: {}\nNetwork: {}\n\
         Program: {}\n\nIf it was not you, change your password: that ends all other sessions.\n",
        app.clock.now(),
        device.network,
        device.user_agent
    );
    let subject = "A new device has signed in";
    app.mailer
        .deliver(&Mail::new(email, subject, text.into()))
        .await;
    Ok(())
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
    Ok(commit_end(app, change, &ended).await?)
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
