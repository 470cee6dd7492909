//! What the caller is told about themselves.

use schemars::JsonSchema;
use serde::Serialize;

use super::Profile;
use crate::app::App;
use crate::error::ApiError;
use crate::sessions::{Membership, Permissions, Role, SignedIn};
use crate::store::SessionId;
use crate::tenants::Plan;

/// The caller's account, and what the caller may do.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Me {
    #[serde(flatten)]
    profile: Profile,
    /// None for a program with an API key.
    session_id: Option<SessionId>,
    roles: [Role; 1],
    permissions: Permissions,
    plan: Plan,
}

/// Describes the caller.
pub(crate) async fn me(app: &App, caller: &SignedIn) -> Result<Me, ApiError> {
    let user = app
        .store
        .user_in_tenant(caller.user_id(), caller.tenant_id())
        .await?;
    let user = user.ok_or(ApiError::Unauthenticated)?;
    let membership = Membership::load(app, caller.member()).await?;
    let membership = membership.ok_or(ApiError::Unauthenticated)?;
    Ok(Me {
        profile: user.into_profile(),
        session_id: caller.session(),
        roles: [caller.role().clone()],
        permissions: caller.permissions().clone(),
        plan: membership.plan,
    })
}
