//! What a user is in the tenant that they are signed in to.

use super::Role;
use super::start::Member;
use crate::app::App;
use crate::error::ApiError;
use crate::store::StoredMembership;
use crate::tenants::Plan;

/// A member's role, and the plan of the tenant.
pub(crate) struct Membership {
    pub(crate) role: Role,
    pub(crate) plan: Plan,
    /// Whether the member may do nothing but set up a second factor.
    pub(crate) owes_factor: bool,
}

impl Membership {
    /// The membership as it is now; who has left the tenant has none.
    pub(crate) async fn load(app: &App, member: Member) -> Result<Option<Self>, ApiError> {
        let stored = app.store.membership(member.tenant, member.user).await?;
        stored.map(Self::of).transpose()
    }

    pub(crate) fn of(stored: StoredMembership) -> Result<Self, ApiError> {
        let role = if stored.owes_factor {
            Ok(Role::suspended())
        } else {
            Role::of(stored.role, stored.permissions.as_deref())
        };
        Ok(Self {
            owes_factor: stored.owes_factor,
            role: role.map_err(ApiError::internal)?,
            plan: Plan::of(stored.plan)?,
        })
    }
}
