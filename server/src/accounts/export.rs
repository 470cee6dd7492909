//! What is known of an account, for its owner to take away.

use schemars::JsonSchema;
use serde::Serialize;

use super::api_keys::ApiKey;
use super::mfa::SecondFactors;
use super::providers::Identity;
use super::{Me, me, show_mfa};
use crate::app::App;
use crate::error::ApiError;
use crate::limits;
use crate::sessions::{self, OwnDevice, SignedIn};
use crate::store::{IdentityId, OwnEvent, OwnServiceKey, TenantId, UnixTime};
use crate::tenants::OwnTenant;

/// An account in one piece. Secrets are in none of it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Export {
    exported_at: UnixTime,
    account: Me,
    second_factors: SecondFactors,
    sessions: Vec<sessions::OwnSession>,
    devices: Vec<OwnDevice>,
    identities: Vec<Identity>,
    tenants: Vec<OwnTenant>,
    /// In all tenants.
    api_keys: Vec<ExportedKey>,
    /// What the user did, newest first, at most ten thousand events.
    events: Vec<OwnEvent>,
}

/// An API key, and the tenant that it works in.
#[derive(Serialize, JsonSchema)]
struct ExportedKey {
    tenant: TenantId,
    #[serde(flatten)]
    key: ApiKey,
}

/// Collects the caller's data.
pub(crate) async fn export_me(app: &App, caller: &SignedIn) -> Result<Export, ApiError> {
    caller.session_id()?;
    let (store, user, now) = (&app.store, caller.user_id(), app.clock.now());
    limits::export(app, user).await?;
    let sessions = store.sessions_of(user, now, (None, ROWS)).await?;
    let devices = store.devices(user, None, ROWS).await?;
    let identities = store.identities(user, IdentityId::FIRST, ROWS).await?;
    let tenants = store.memberships(user, TenantId::ANY, ROWS).await?;
    let keys = store.service_keys_of(user, ROWS).await?;
    let sessions = sessions.into_iter();
    Ok(Export {
        exported_at: now,
        account: me(app, caller).await?,
        second_factors: show_mfa(app, caller).await?,
        sessions: sessions
            .map(|one| sessions::OwnSession::of(one, caller))
            .collect(),
        devices: devices.into_iter().map(OwnDevice::from).collect(),
        identities: identities.into_iter().map(Identity::from).collect(),
        tenants: tenants.into_iter().map(OwnTenant::from).collect(),
        api_keys: keys.into_iter().map(exported).collect::<Result<_, _>>()?,
        events: store.events_of(&caller.actor(), ROWS).await?,
    })
}

fn exported(stored: OwnServiceKey) -> Result<ExportedKey, ApiError> {
    Ok(ExportedKey {
        tenant: stored.tenant_id,
        key: ApiKey::of(stored.key)?,
    })
}

const ROWS: i64 = 10_000;
