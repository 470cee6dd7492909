//! Who is calling: sign-ins, their tokens, and the proof that a request comes from one.

mod binding;
mod devices;
mod key_ring;
mod list;
mod membership;
pub(crate) mod opaque;
mod permissions;
mod refresh;
mod second_factor;
mod seen;
mod server_admin;
mod service_key;
mod sign_in;
mod sign_out;
mod signed_in;
mod signing_keys;
mod start;
mod sweep;
mod token;
mod verified;

use std::net::IpAddr;
use std::sync::Arc;

use uuid::Uuid;

pub(crate) use devices::{OwnDevice, forget_device, list_devices};
pub(crate) use key_ring::{KeyRing, reload as reload_signing_keys, rotate as rotate_signing_key};
pub(crate) use list::{OwnSession, commit_end, end, list, sign_out_everywhere};
pub(crate) use membership::Membership;
pub(crate) use permissions::{BuiltIn, LONGEST, MOST, Permission, Permissions, Role};
pub(crate) use refresh::{RefreshRequest, refresh};
pub(crate) use second_factor::{Brought, SecondFactor, admit, verify_mfa};
pub(crate) use seen::SeenSessions;
pub(crate) use server_admin::{ServerAdmin, server_admin};
pub(crate) use service_key::ServiceKey;
pub(crate) use sign_in::{Credentials, SignInAnswer, SignInOutcome, sign_in};
pub(crate) use sign_out::sign_out;
pub(crate) use signed_in::{SignedIn, signed_in};
pub(crate) use signing_keys::{
    SigningKeys, SigningKeysError, context as signing_key_context, published,
};
pub(crate) use start::{Ground, Member, Tokens, start};
pub(crate) use sweep::{once as sweep_once, sweep};
pub(crate) use verified::VerifiedTokens;

/// Where a request comes from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The id under which the logs and the audit know the request.
    pub(crate) request_id: Uuid,
    /// The client's address; none for the operator's own commands.
    pub(crate) peer: Option<IpAddr>,
    /// What the client calls itself.
    pub(crate) user_agent: Option<Arc<str>>,
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod vectors;
