//! An agent asks whether it has been approved, and fetches its ticket.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_protocol::approval::ticket_info;
use keyferry_protocol::sealed::{SealedError, seal};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{INTERVAL, agent_key};
use crate::app::App;
use crate::delivery::issue_ticket::{IssuedFor, issue};
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::Origin;
use crate::sessions::opaque::{OpaqueToken, Purpose};
use crate::store::{StoredEnrolment, UnixTime, VmId};

/// The body of `POST /enrolments/poll`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Polling {
    device_code: Secret,
}

/// The ticket, for the agent's key alone.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Approved {
    sealed_ticket: String,
    vm: VmId,
}

/// Gives an approved agent a ticket that only it can open and redeem. Asked again, it gives another
/// one, since the answer may have been lost.
pub(crate) async fn poll(
    app: &App,
    origin: &Origin,
    polling: Polling,
) -> Result<Approved, ApiError> {
    let device = OpaqueToken::parse(Purpose::Device, polling.device_code.expose());
    let device = device.ok_or(ApiError::EnrolmentEnded)?;
    let found = app.store.enrolment_of_device(&device.hash()).await?;
    let found = found.ok_or(ApiError::EnrolmentEnded)?;
    let now = app.clock.now();
    if found.expires_at <= now {
        return Err(ApiError::EnrolmentEnded);
    }
    app.store.note_poll(found.id, now).await?;
    if hasty(&found, now) {
        return Err(ApiError::SlowDown);
    }
    match (found.status.as_str(), found.vm_id) {
        ("pending", _) => Err(ApiError::AuthorizationPending),
        ("approved", Some(vm)) => ticket(app, origin, (&found, vm)).await,
        _ => Err(ApiError::EnrolmentDenied),
    }
}

/// A little early is on time: clocks and networks are not exact.
fn hasty(found: &StoredEnrolment, now: UnixTime) -> bool {
    let since = found.polled_at.map(|before| now.since(before));
    since.is_some_and(|since| since + GRACE < INTERVAL)
}

async fn ticket(
    app: &App,
    origin: &Origin,
    (found, vm): (&StoredEnrolment, VmId),
) -> Result<Approved, ApiError> {
    let agent = agent_key(found)?;
    let tenant = found.tenant_id.ok_or(ApiError::EnrolmentDenied)?;
    let vm = app.store.vm(tenant, vm).await?;
    let vm = vm.ok_or(ApiError::EnrolmentDenied)?;
    let issued_for = IssuedFor {
        tenant,
        created_by: found.decided_by,
        actor: format!("enrolment:{}", found.id),
        correlation: origin.request_id,
        way: "approval",
        agent_key: Some(agent.0),
    };
    let (ticket, _expires_at) = issue(app, &vm, &issued_for).await?;
    let printed = ticket.print(&app.arena).map_err(ApiError::internal)?;
    let info = ticket_info(agent);
    let sealed = seal(&app.arena, &mut app.rng(), agent, &info, &printed);
    let sealed = sealed.map_err(|cause| match cause {
        SealedError::NotContributory(_) => ApiError::invalid("agent_key", "is no key"),
        other => ApiError::internal(other),
    })?;
    Ok(Approved {
        sealed_ticket: Base64UrlUnpadded::encode_string(&sealed),
        vm: vm.id,
    })
}

const GRACE: Duration = Duration::from_millis(500);
