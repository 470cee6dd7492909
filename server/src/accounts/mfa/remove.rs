//! The end of the second factor.

use serde_json::json;

use super::{TypedCode, prove};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::SignedIn;

/// Forgets the app and the recovery codes, for who has a second factor at hand.
pub(crate) async fn remove_totp(
    app: &App,
    caller: &SignedIn,
    request: TypedCode,
) -> Result<(), ApiError> {
    caller.session_id()?;
    prove(app, caller, &request.code).await?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "mfa.totp_removed",
        subject: None,
        detail: json!({}),
        correlation: caller.request_id(),
    };
    let mut change = app.store.begin().await?;
    caller.hold(app, &mut change).await?;
    change.delete_totp(caller.user_id()).await?;
    change.delete_recovery_codes(caller.user_id()).await?;
    change.insert_audit_event(app, &entry).await?;
    Ok(change.commit().await?)
}
