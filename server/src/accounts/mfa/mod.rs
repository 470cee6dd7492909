//! The second factor: codes of an authenticator app, and recovery codes for when it is lost.

mod check;
mod confirm;
mod recovery;
mod remove;
mod show;
mod start;
mod totp;

pub(crate) use check::{check, prove};
pub(crate) use confirm::confirm_totp;
pub(crate) use recovery::renew_recovery_codes;
pub(crate) use remove::remove_totp;
pub(crate) use show::{SecondFactors, show_mfa};
pub(crate) use start::start_totp;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::Secret;
use crate::store::UserId;

/// A code that somebody typed.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TypedCode {
    code: Secret,
}

/// What a user's secret is bound to.
pub(crate) fn context(user: UserId) -> Vec<u8> {
    [b"keyferry totp\0".as_slice(), &user.bytes()].concat()
}

#[cfg(test)]
mod tests;
