//! The providers by which a user can sign in.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::SignedIn;
use crate::store::{IdentityId, StoredIdentity, UnixTime};

/// An identity of the caller's.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Identity {
    id: IdentityId,
    provider: String,
    issuer: String,
    created_at: UnixTime,
    last_used_at: UnixTime,
}

impl From<StoredIdentity> for Identity {
    fn from(stored: StoredIdentity) -> Self {
        Self {
            id: stored.id,
            provider: stored.provider,
            issuer: stored.issuer,
            created_at: stored.created_at,
            last_used_at: stored.last_used_at,
        }
    }
}

/// Lists the caller's identities, the oldest first.
pub(crate) async fn list_identities(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<Identity>, ApiError> {
    let after = page.after_id_or_first()?;
    let stored = app.store.identities(caller.user_id(), after, page.rows());
    let identities = stored.await?.into_iter().map(Identity::from).collect();
    Ok(List::new(identities, page, |one| one.id.to_string()))
}

/// Takes one away: it signs nobody in from now on. Sessions that it began go on.
pub(crate) async fn remove_identity(
    app: &App,
    caller: &SignedIn,
    id: IdentityId,
) -> Result<(), ApiError> {
    caller.session_id()?;
    let mut change = app.store.begin().await?;
    if !change.delete_identity(caller.user_id(), id).await? {
        return Err(ApiError::NotFound);
    }
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "security.identity_removed",
        subject: Some(&id.to_string()),
        detail: json!({}),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    Ok(change.commit().await?)
}
