//! Tenants: who belongs to them, in which role, on which plan.

mod change_member;
mod change_tenant;
mod enter;
mod invite;
mod join;
mod list;
mod plan;
mod roles;

pub(crate) use change_member::{change_member, leave, remove_member};
pub(crate) use change_tenant::{add_tenant, change_tenant, show_tenant};
pub(crate) use enter::enter;
pub(crate) use invite::{invitations, invite, withdraw};
pub(crate) use join::join;
pub(crate) use list::{OwnTenant, list, members};
pub(crate) use plan::{Plan, plans};
pub(crate) use roles::{RoleName, delete_role, put_role, roles};

use crate::error::ApiError;
use crate::sessions::{BuiltIn, Role, SignedIn};

/// Refuses a caller who would give or take a role that may more than the caller: only owners
/// make or unmake owners, and nobody hands out what they do not have.
fn require_reach(caller: &SignedIn, role: &Role) -> Result<(), ApiError> {
    let owners = !role.is(BuiltIn::Owner) || caller.role().is(BuiltIn::Owner);
    let mut guarded = role.permissions().guarded();
    let within = guarded.all(|permission| caller.permissions().permit(permission));
    (owners && within).then_some(()).ok_or(ApiError::Forbidden)
}

/// Of one tenant.
const MOST_MEMBERS: i64 = 10_000;
/// To which one user belongs.
const MOST_TENANTS: i64 = 100;

#[cfg(test)]
mod tests;
