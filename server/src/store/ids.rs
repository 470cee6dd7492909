//! The ids of rows: UUIDs that a compiler can tell apart.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use rand_core::Rng;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use super::UnixTime;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub(crate) struct $name(Uuid);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }

        impl Display for $name {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )+};
}

ids! {
    /// A tenant.
    TenantId
    /// A person with an account.
    UserId
    /// A sign-in, from login to logout.
    SessionId
    /// A place and a program from which a user has signed in.
    DeviceId
    /// A provider key in the vault.
    ProviderKeyId
    /// A virtual machine.
    VmId
    /// An API key of a person's program.
    ServiceKeyId
    /// An open invitation.
    InvitationId
    /// An agent that waits for approval.
    EnrolmentId
    /// Who a user is at a provider.
    IdentityId
    /// An enrolment ticket or a reattach credential.
    TicketId
    /// One chain of the audit: a tenant's, or the server's own.
    ChainId
}

impl ChainId {
    /// The chain of what is no tenant's affair.
    pub(crate) const SERVER: Self = Self(Uuid::nil());

    /// The chain of a tenant, or the server's.
    pub(crate) fn of(tenant: Option<TenantId>) -> Self {
        tenant.map_or(Self::SERVER, |tenant| Self(tenant.0))
    }
}

macro_rules! made_new {
    ($($name:ident)+) => {$(
        impl $name {
            /// A new id, sortable by time (UUIDv7).
            pub(crate) fn new(now: UnixTime, rng: &mut impl Rng) -> Self {
                Self(uuid_v7(now, rng))
            }
        }
    )+};
}

made_new! {
    DeviceId EnrolmentId IdentityId InvitationId ProviderKeyId ServiceKeyId SessionId TenantId TicketId UserId
    VmId
}

macro_rules! made_of_bytes {
    ($($name:ident)+) => {$(
        impl $name {
            /// The id that another part of the system knows as these bytes.
            pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }
    )+};
}

macro_rules! known_by_bytes {
    ($($name:ident)+) => {$(
        impl $name {
            /// The bytes that go over the wire and into what a record is bound to.
            pub(crate) const fn bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }
        }
    )+};
}

made_of_bytes! { ProviderKeyId TenantId TicketId UserId }

macro_rules! listed_newest_first {
    ($($name:ident)+) => {$(
        impl $name {
            /// Sorts after every other one.
            pub(crate) const LAST: Self = Self(Uuid::max());
        }
    )+};
}

listed_newest_first! { DeviceId SessionId }

impl TenantId {
    /// Stands for all of them.
    pub(crate) const ANY: Self = Self(Uuid::nil());

    /// The tenant of a chain, unless it is the server's.
    pub(crate) fn of(chain: ChainId) -> Option<Self> {
        (chain != ChainId::SERVER).then_some(Self(chain.0))
    }
}

impl IdentityId {
    /// Sorts before every other one.
    pub(crate) const FIRST: Self = Self(Uuid::nil());
}

impl UserId {
    /// Belongs to nobody.
    pub(crate) const NOBODY: Self = Self(Uuid::nil());
}

#[cfg(test)]
made_of_bytes! { SessionId VmId }
known_by_bytes! { ChainId ProviderKeyId TenantId TicketId UserId VmId }

/// A UUIDv7 (RFC 9562 §5.7) from the given clock and dice.
pub(crate) fn uuid_v7(now: UnixTime, rng: &mut impl Rng) -> Uuid {
    let mut random = [0; 10];
    rng.fill_bytes(&mut random);
    Builder::from_unix_timestamp_millis(now.milliseconds(), &random).into_uuid()
}
