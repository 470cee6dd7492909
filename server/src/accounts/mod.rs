//! Who exists.

mod api_keys;
mod change;
mod change_password;
mod close;
mod export;
mod fold_names;
mod hasher;
mod mailed_token;
mod me;
pub(crate) mod mfa;
mod names;
mod password;
mod prove_password;
pub(crate) mod providers;
mod register;
mod reset_password;
mod verify_email;

use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use api_keys::{add_api_key, list_api_keys, revoke_api_key};
pub(crate) use change::change_me;
pub(crate) use change_password::{Replacement, change_password, replace};
pub(crate) use close::close_me;
pub(crate) use export::export_me;
pub(crate) use fold_names::fold_names;
pub(crate) use hasher::{HashError, PasswordHasher};
pub(crate) use me::{Me, me};
pub(crate) use mfa::context as totp_context;
pub(crate) use mfa::{confirm_totp, remove_totp, renew_recovery_codes, show_mfa, start_totp};
pub(crate) use names::{Email, Username};
pub(crate) use password::NewPassword;
pub(crate) use providers::{Providers, list_identities, list_providers, remove_identity};
pub(crate) use register::{FREE_TEXT, NAME, Standing, Wanted, create, free_text, register};
pub(crate) use reset_password::{forgot_password, mailed_reset, reset_password};
pub(crate) use verify_email::{resend_verification, verify_email};

use crate::store::{TenantId, UnixTime, UserId};

/// What a user may know of an account.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Profile {
    pub(crate) id: UserId,
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) full_name: Option<String>,
    pub(crate) is_active: bool,
    pub(crate) email_verified: bool,
    pub(crate) tenant: Tenant,
    pub(crate) created_at: UnixTime,
}

/// The tenant that an account works in.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) name: String,
}

#[cfg(test)]
mod tests;
