//! Tenants, and who works in them.

mod invitations;
mod members;
mod plans;
mod roles;
mod tenants;

pub(crate) use invitations::run as run_invitations;
pub(crate) use members::run as run_members;
pub(crate) use plans::{list_plans, plans};
pub(crate) use roles::run as run_roles;
pub(crate) use tenants::run as run_tenants;
