//! An API key that is worth nothing from here on.

use serde_json::json;

use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::SignedIn;
use crate::store::ServiceKeyId;

/// Revokes one of the caller's API keys.
pub(crate) async fn revoke_api_key(
    app: &App,
    caller: &SignedIn,
    id: ServiceKeyId,
) -> Result<(), ApiError> {
    caller.session_id()?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "api_key.revoke",
        subject: Some(&id.to_string()),
        detail: json!({}),
        correlation: caller.request_id(),
    };
    let member = (caller.tenant_id(), caller.user_id());
    let mut change = app.store.begin().await?;
    caller.hold(app, &mut change).await?;
    let revoked = change.revoke_service_key(member, id, app.clock.now());
    if !revoked.await? {
        return Err(ApiError::NotFound);
    }
    change.insert_audit_event(app, &entry).await?;
    Ok(change.commit().await?)
}
