//! Enrolment by approval (RFC 8628 in manner): an agent asks and shows a code, a person approves the
//! code, and the agent fetches a ticket that is sealed to its key. PROTOCOL.md §12.

mod ask;
mod decide;
mod poll;
mod show;

pub(crate) use ask::ask;
pub(crate) use decide::{approve, deny};
pub(crate) use poll::poll;
pub(crate) use show::{list, show};

use std::time::Duration;

use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::approval::fingerprint;
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;
use crate::store::{EnrolmentId, StoredEnrolment, UnixTime, UserId, VmId};

/// A request as people see it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Enrolment {
    id: EnrolmentId,
    code: String,
    fingerprint: String,
    name: Option<String>,
    address: Option<String>,
    status: String,
    vm: Option<VmId>,
    decided_by: Option<UserId>,
    created_at: UnixTime,
    expires_at: UnixTime,
}

impl Enrolment {
    fn of(stored: StoredEnrolment) -> Result<Self, ApiError> {
        let key = agent_key(&stored)?;
        let code: keyferry_protocol::approval::UserCode =
            stored.code.parse().map_err(ApiError::internal)?;
        Ok(Self {
            id: stored.id,
            code: code.to_string(),
            fingerprint: fingerprint(key),
            name: stored.name,
            address: stored.address,
            status: stored.status,
            vm: stored.vm_id,
            decided_by: stored.decided_by,
            created_at: stored.created_at,
            expires_at: stored.expires_at,
        })
    }
}

fn agent_key(stored: &StoredEnrolment) -> Result<PublicKey, ApiError> {
    let key = stored.agent_key.as_slice().try_into();
    key.map(PublicKey).map_err(ApiError::internal)
}

/// How long a code can be approved, and the ticket be fetched.
const LIFE: Duration = Duration::from_secs(600);
/// Between two questions of an agent.
const INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
