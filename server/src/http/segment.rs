//! What may stand in a path where its pattern has a parameter.

use keyferry_protocol::approval::UserCode;
use keyferry_protocol::ids::KeyName;
use schemars::{Schema, json_schema};

use crate::accounts::providers::ProviderName;
use crate::error::ApiError;
use crate::operators::{AccountName, PlanName};
use crate::store::{
    DeviceId, IdentityId, InvitationId, ServiceKeyId, SessionId, TenantId, UserId, VmId,
};
use crate::tenants::RoleName;

/// A value of one segment.
pub(super) trait Segment: Sized {
    /// From the segment as it reads when it is decoded.
    fn parse(text: &str) -> Result<Self, ApiError>;
    fn schema() -> Schema;
}

impl Segment for KeyName {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let detail = "is 1 to 64 letters, digits, hyphens, dots or underscores";
        text.parse().map_err(|_| ApiError::invalid("name", detail))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" })
    }
}

impl Segment for UserCode {
    /// What is no code belongs to nothing.
    fn parse(text: &str) -> Result<Self, ApiError> {
        text.parse().map_err(|_| ApiError::NotFound)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[B-DF-HJ-NP-TV-XZ]{4}(-[B-DF-HJ-NP-TV-XZ]{4}){2}$" })
    }
}

impl Segment for RoleName {
    fn parse(text: &str) -> Result<Self, ApiError> {
        text.parse()
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": Self::PATTERN })
    }
}

impl Segment for ProviderName {
    fn parse(text: &str) -> Result<Self, ApiError> {
        text.parse()
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9-]{1,32}$" })
    }
}

impl Segment for PlanName {
    fn parse(text: &str) -> Result<Self, ApiError> {
        text.parse()
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$" })
    }
}

impl Segment for AccountName {
    fn parse(text: &str) -> Result<Self, ApiError> {
        text.parse()
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "description": "An id, a username or an e-mail address.",
            "pattern": "^[A-Za-z0-9_.+'@-]{3,100}$",
        })
    }
}

macro_rules! ids {
    ($($id:ident)+) => {$(
        /// An id that is none belongs to nothing.
        impl Segment for $id {
            fn parse(text: &str) -> Result<Self, ApiError> {
                text.parse().map_err(|_| ApiError::NotFound)
            }

            fn schema() -> Schema {
                json_schema!({ "type": "string", "format": "uuid" })
            }
        }
    )+};
}

ids! { DeviceId IdentityId InvitationId ServiceKeyId SessionId TenantId UserId VmId }
