//! Who is calling: sign-ins, their tokens, and the proof that a request comes from one.

mod opaque;
mod permissions;
mod refresh;
mod sign_in;
mod sign_out;
mod signed_in;
mod signing_keys;
mod start;
mod token;
mod verified;

use std::net::IpAddr;

use uuid::Uuid;

pub(crate) use permissions::{Permission, Role};
pub(crate) use refresh::refresh;
pub(crate) use sign_in::sign_in;
pub(crate) use sign_out::sign_out;
pub(crate) use signed_in::{SignedIn, signed_in};
pub(crate) use signing_keys::{KeySource, SigningKeys, published};
pub(crate) use start::{Member, Tokens, start};
pub(crate) use verified::VerifiedTokens;

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The id under which the logs and the audit know the request.
    pub(crate) request_id: Uuid,
    /// The peer's address; none for the operator's own commands.
    pub(crate) peer: Option<IpAddr>,
}

#[cfg(test)]
mod tests;
