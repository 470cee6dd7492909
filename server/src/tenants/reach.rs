//! What a caller may do in their tenant while it is held.

use crate::error::ApiError;
use crate::sessions::{BuiltIn, Permission, Permissions, Role, SignedIn};
use crate::store::{StoredMember, Transaction, UserId};

/// The caller's part in the tenant. As long as the tenant is held, nobody changes it.
pub(super) struct Reach {
    role: Role,
    permissions: Permissions,
}

impl Reach {
    /// Holds the caller's tenant, and refuses who may not do this in it any more: a role can be
    /// taken away between the look at the caller and the change.
    pub(super) async fn hold(
        change: &mut Transaction,
        caller: &SignedIn,
        permission: Permission,
    ) -> Result<Self, ApiError> {
        change.hold_tenant(caller.tenant_id()).await?;
        let role = role_of(change, caller, caller.user_id()).await?;
        let role = role.ok_or(ApiError::Unauthenticated)?;
        let before: Vec<Permission> = caller.permissions().guarded().collect();
        let permissions = role.permissions().limited_to(&before);
        let permitted = permissions.permit(permission);
        let reach = Self { role, permissions };
        permitted.then_some(reach).ok_or(ApiError::Forbidden)
    }

    /// Refuses a caller who would give or take a role that may more than the caller: only owners
    /// make or unmake owners, and nobody hands out what they do not have.
    pub(super) fn require(&self, role: &Role) -> Result<(), ApiError> {
        let owners = !role.is(BuiltIn::Owner) || self.role.is(BuiltIn::Owner);
        let mut guarded = role.permissions().guarded();
        let within = guarded.all(|permission| self.permissions.permit(permission));
        (owners && within).then_some(()).ok_or(ApiError::Forbidden)
    }
}

/// The role that a member of the caller's tenant keeps as long as the tenant is held.
pub(super) async fn role_of(
    change: &mut Transaction,
    caller: &SignedIn,
    user: UserId,
) -> Result<Option<Role>, ApiError> {
    let stored = change.member(caller.tenant_id(), user).await?;
    let Some(StoredMember {
        role, permissions, ..
    }) = stored
    else {
        return Ok(None);
    };
    let role = Role::of(role, permissions.as_deref());
    role.map(Some).map_err(ApiError::internal)
}
