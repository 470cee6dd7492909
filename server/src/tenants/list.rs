//! The caller's tenants, and the members of the one they are signed in to.

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::{Permission, SignedIn};
use crate::store::{StoredMember, StoredMembership, TenantId, UnixTime, UserId};

/// A tenant that the caller belongs to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct OwnTenant {
    id: TenantId,
    name: String,
    role: String,
    plan: String,
    mfa_required: bool,
    created_at: UnixTime,
}

/// A member as the others see them.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TenantMember")]
pub(crate) struct Member {
    id: UserId,
    username: Option<String>,
    email: Option<String>,
    full_name: Option<String>,
    role: String,
    joined_at: UnixTime,
}

impl From<StoredMembership> for OwnTenant {
    fn from(stored: StoredMembership) -> Self {
        Self {
            id: stored.id,
            name: stored.name,
            role: stored.role,
            plan: stored.plan.name,
            mfa_required: stored.mfa_required,
            created_at: stored.created_at,
        }
    }
}

impl From<StoredMember> for Member {
    fn from(stored: StoredMember) -> Self {
        Self {
            id: stored.id,
            username: stored.username,
            email: stored.email,
            full_name: stored.full_name,
            role: stored.role,
            joined_at: stored.created_at,
        }
    }
}

/// Every tenant that the caller belongs to, oldest first.
pub(crate) async fn list(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<OwnTenant>, ApiError> {
    let stored = app
        .store
        .memberships(caller.user_id(), page.after_id_or_first()?, page.rows())
        .await?;
    let tenants = stored.into_iter().map(OwnTenant::from).collect();
    Ok(List::new(tenants, page, |tenant| tenant.id.to_string()))
}

/// The members of the caller's tenant.
pub(crate) async fn members(
    app: &App,
    caller: &SignedIn,
    page: &Page,
) -> Result<List<Member>, ApiError> {
    caller.require(Permission::UserRead)?;
    let stored = app
        .store
        .members(caller.tenant_id(), page.after_id_or_first()?, page.rows())
        .await?;
    let members = stored.into_iter().map(Member::from).collect();
    Ok(List::new(members, page, |member| member.id.to_string()))
}
