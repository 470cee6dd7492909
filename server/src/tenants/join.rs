//! Accepts an invitation.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::list::OwnTenant;
use super::{MOST_MEMBERS, MOST_TENANTS};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::SignedIn;
use crate::sessions::opaque::{OpaqueToken, Purpose};

/// The body of `POST /invitations/accept`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Acceptance {
    token: Secret,
}

/// Makes the caller a member of the tenant that invited the bearer of this token. Who has the
/// token has read the mail, so the caller's own address need not be the invited one.
pub(crate) async fn join(
    app: &App,
    caller: &SignedIn,
    acceptance: Acceptance,
) -> Result<OwnTenant, ApiError> {
    caller.session_id()?;
    let token = OpaqueToken::parse(Purpose::Invitation, acceptance.token.expose());
    let token = token.ok_or(ApiError::NotFound)?;
    let now = app.clock.now();
    let invitation = app.store.invitation_by_token(&token.hash(), now).await?;
    let invitation = invitation.ok_or(ApiError::NotFound)?;
    let (tenant, user) = (invitation.tenant_id, caller.user_id());
    let mut change = app.store.begin().await?;
    change.hold_tenant(tenant).await?;
    if !change.delete_invitation(tenant, invitation.id).await? {
        return Err(ApiError::NotFound);
    }
    let crowded = change.count_members(tenant).await? >= MOST_MEMBERS;
    if crowded || change.count_tenants_of(user).await? >= MOST_TENANTS {
        return Err(ApiError::TooMany);
    }
    change
        .insert_membership((tenant, user), &invitation.role, now)
        .await?;
    let entry = Entry {
        tenant: Some(tenant),
        actor: &caller.actor(),
        action: "member.join",
        subject: Some(&user.to_string()),
        detail: json!({ "role": invitation.role, "invitation": invitation.id }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    let stored = app.store.membership(tenant, user).await?;
    stored.map(OwnTenant::from).ok_or(ApiError::NotFound)
}
