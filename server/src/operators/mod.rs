//! What the operators of this server see and do: as signed-in admins, or on its host.

mod account_name;
mod act;
mod add_user;
mod plans;
mod search;
mod stats;
mod tenants;
mod users;

use uuid::Uuid;

pub(crate) use account_name::AccountName;
pub(crate) use act::{Status, set_password, set_status, unlock};
pub(crate) use add_user::add_user;
pub(crate) use plans::{PlanLimits, PlanName, change_limits, set_limits};
pub(crate) use search::Search;
pub(crate) use stats::stats;
pub(crate) use tenants::{change_plan, change_tenant, tenants};
pub(crate) use users::{
    account, disable_user, enable_user, find_account, reset_user_password, show_user, unlock_user,
    users,
};

use crate::sessions::{Origin, ServerAdmin};

/// Who acts for the whole server, as the audit knows them.
pub(crate) struct Operator {
    actor: String,
    request_id: Uuid,
}

impl Operator {
    /// As the audit knows them.
    pub(crate) fn actor(&self) -> &str {
        &self.actor
    }

    /// Somebody on the server's host, who needs no session there.
    pub(crate) fn on_host(origin: &Origin) -> Self {
        Self {
            actor: "operator".to_owned(),
            request_id: origin.request_id,
        }
    }
}

impl From<&ServerAdmin> for Operator {
    fn from(admin: &ServerAdmin) -> Self {
        Self {
            actor: admin.actor(),
            request_id: admin.request_id(),
        }
    }
}

#[cfg(test)]
mod tests;
