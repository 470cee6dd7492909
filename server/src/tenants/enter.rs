//! A session in another tenant of the caller's.

use crate::app::App;
use crate::error::ApiError;
use crate::sessions::{self, Ground, Member, Origin, SignedIn, Tokens};
use crate::store::TenantId;

/// Starts a session in a tenant that the caller belongs to. The present one goes on.
pub(crate) async fn enter(
    app: &App,
    origin: &Origin,
    caller: &SignedIn,
    tenant: TenantId,
) -> Result<Tokens, ApiError> {
    // A program stays where its key is.
    let ground = Ground::Session(caller.session_id()?);
    let user = caller.user_id();
    if app.store.membership(tenant, user).await?.is_none() {
        return Err(ApiError::NotFound);
    }
    sessions::start(app, origin, Member { user, tenant }, ground).await
}
