//! Which second factors the caller has.

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;
use crate::sessions::SignedIn;

/// The caller's second factors.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SecondFactors {
    /// Whether an authenticator app is confirmed.
    totp: bool,
    recovery_codes_left: i64,
}

/// Describes the caller's second factors.
pub(crate) async fn show_mfa(app: &App, caller: &SignedIn) -> Result<SecondFactors, ApiError> {
    let user = caller.user_id();
    Ok(SecondFactors {
        totp: app.store.has_totp(user).await?,
        recovery_codes_left: app.store.recovery_codes_left(user).await?,
    })
}
