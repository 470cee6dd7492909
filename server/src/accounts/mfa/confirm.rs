//! The proof that the authenticator app has the secret: from here on login asks for codes.

use serde_json::json;

use super::TypedCode;
use super::check::{matching_step, typed_digits};
use super::recovery::{self, RecoveryCodes};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::SignedIn;

/// Takes the first code, and gives the recovery codes.
pub(crate) async fn confirm_totp(
    app: &App,
    caller: &SignedIn,
    request: TypedCode,
) -> Result<RecoveryCodes, ApiError> {
    caller.session_id()?;
    let user = caller.user_id();
    let code = typed_digits(request.code.expose()).ok_or(ApiError::InvalidCode)?;
    let pending = app.store.unconfirmed_totp(user).await?;
    let pending = pending.ok_or(ApiError::NotFound)?;
    let step = matching_step(app, user, &pending, code).await?;
    let step = step.ok_or(ApiError::InvalidCode)?;
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &caller.actor(),
        action: "mfa.totp_confirmed",
        subject: None,
        detail: json!({}),
        correlation: caller.request_id(),
    };
    let mut change = app.store.begin().await?;
    caller.hold(app, &mut change).await?;
    let now = app.clock.now();
    if !change
        .confirm_totp(user, &pending.salt, (step, now))
        .await?
    {
        return Err(ApiError::InvalidCode);
    }
    let codes = recovery::replace(app, &mut change, user).await?;
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(codes)
}
