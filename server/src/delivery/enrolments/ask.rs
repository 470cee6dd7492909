//! An agent asks to be approved.

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::approval::{UserCode, fingerprint};
use rand_core::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{INTERVAL, LIFE};
use crate::app::App;
use crate::delivery::add_vm::parse_name;
use crate::error::ApiError;
use crate::limits;
use crate::secret::Handed;
use crate::sessions::Origin;
use crate::sessions::opaque::{OpaqueToken, Purpose};
use crate::store::{EnrolmentId, NewEnrolment, StoreError, TenantId, UnixTime};
use crate::vault::ClientKey;

/// The body of `POST /enrolments`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asking {
    agent_key: String,
    name: Option<String>,
    tenant: Option<TenantId>,
}

/// What the agent shows, and how it asks again.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Asked {
    device_code: Handed,
    user_code: String,
    nonce: String,
    fingerprint: String,
    expires_in: u64,
    interval: u64,
}

/// Notes a request, for a person to find by its code.
pub(crate) async fn ask(app: &App, origin: &Origin, asking: Asking) -> Result<Asked, ApiError> {
    let agent = asking.agent_key.parse::<ClientKey>();
    let agent = agent.map_err(|detail| ApiError::invalid("agent_key", detail))?;
    let agent = PublicKey::from(agent);
    if let Some(name) = &asking.name {
        parse_name(name)?;
    }
    limits::enrolment(app, origin).await?;
    let now = app.clock.now();
    if !has_room(app, asking.tenant, now).await? {
        return Err(ApiError::Overloaded);
    }
    let mut nonce = [0; 16];
    app.rng().fill_bytes(&mut nonce);
    let server = app.server_keys.pairs().noise.current.public();
    let code = UserCode::of(agent, server, &nonce);
    let device = OpaqueToken::random(&mut app.rng());
    let new = NewEnrolment {
        id: EnrolmentId::new(now, &mut app.rng()),
        code: code.letters(),
        device_hash: device.hash(),
        agent_key: agent.0,
        name: asking.name.as_deref(),
        address: origin.peer.map(|address| address.to_string()),
        tenant: asking.tenant,
        created_at: now,
        expires_at: now + LIFE,
    };
    let noted = app.store.insert_enrolment(&new).await;
    noted.map_err(of_tenant)?;
    info!(request = %origin.request_id, enrolment = %new.id, "an agent waits for approval");
    Ok(Asked {
        device_code: Handed::new(device.text(Purpose::Device)),
        user_code: code.to_string(),
        nonce: Base64UrlUnpadded::encode_string(&nonce),
        fingerprint: fingerprint(agent),
        expires_in: LIFE.as_secs(),
        interval: INTERVAL.as_secs(),
    })
}

async fn has_room(app: &App, tenant: Option<TenantId>, now: UnixTime) -> Result<bool, StoreError> {
    let (all, own) = app.store.waiting_enrolments(tenant, now).await?;
    Ok(all < MOST_WAITING && own < MOST_OF_ONE_TENANT)
}

fn of_tenant(cause: StoreError) -> ApiError {
    match cause {
        StoreError::Dangling(_) => ApiError::invalid("tenant", "is not known here"),
        other => other.into(),
    }
}

/// Strangers can make us hold so many, for ten minutes.
const MOST_WAITING: i64 = 1_024;
const MOST_OF_ONE_TENANT: i64 = 64;
