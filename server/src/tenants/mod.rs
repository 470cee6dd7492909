//! Tenants: who belongs to them, in which role, on which plan.

mod change_member;
mod change_tenant;
mod enter;
mod invite;
mod join;
mod list;
mod plan;
mod reach;
mod roles;

pub(crate) use change_member::{change_member, leave, remove_member};
pub(crate) use change_tenant::{add_tenant, change_tenant, show_tenant};
pub(crate) use enter::enter;
pub(crate) use invite::{invitations, invite, withdraw};
pub(crate) use join::join;
pub(crate) use list::{OwnTenant, list, members};
pub(crate) use plan::{Plan, plans};
pub(crate) use roles::{RoleName, delete_role, put_role, roles};

/// Of one tenant.
const MOST_MEMBERS: i64 = 10_000;
/// To which one user belongs.
const MOST_TENANTS: i64 = 100;

#[cfg(test)]
mod tests;
