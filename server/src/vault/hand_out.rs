//! Keys for a client that has no agent: sealed to the public key that its login sends.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use keyferry_protocol::agreement::PublicKey;
use keyferry_protocol::ids::KeyName;
use keyferry_protocol::sealed::{self, SealedError, login_info};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::key::record_context;
use super::master_key;
use super::policy::Policy;
use crate::app::App;
use crate::audit::{self, Entry};
use crate::error::ApiError;
use crate::sessions::{Member, Membership, Origin, Permission};
use crate::store::{DeliverableVersion, TenantId};

/// The X25519 key of a client, as it is sent: base64url of 32 bytes.
#[derive(Clone, Copy)]
pub(crate) struct ClientKey(PublicKey);

/// The keys that the client may read, by name.
pub(crate) type SealedKeys = BTreeMap<String, SealedKey>;

/// What is handed out at once.
#[derive(Default)]
pub(crate) struct HandedOut {
    pub(crate) keys: SealedKeys,
    /// Whether there are more, which an agent would get.
    pub(crate) truncated: bool,
}

/// The current version of a key, for the owner of the client's private key alone.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SealedKey {
    provider: String,
    version: u32,
    /// Base64url of HPKE's `enc || ct || tag`.
    sealed: String,
}

/// Seals the keys that any VM of the tenant could get and its tools could read, for a member who
/// could enrol such a VM: what the client could have by an agent, and nothing else.
pub(crate) async fn hand_out(
    app: &App,
    origin: &Origin,
    member: Member,
    to: ClientKey,
) -> Result<HandedOut, ApiError> {
    let membership = Membership::load(app, member).await?;
    let membership = membership.ok_or(ApiError::Unauthenticated)?;
    let needed = [Permission::VaultRead, Permission::VmEnroll];
    let mut handed = HandedOut::default();
    if !needed
        .iter()
        .all(|one| membership.role.permissions().permit(*one))
    {
        return Ok(handed);
    }
    let mut found = readable(app, member.tenant).await?;
    handed.truncated = found.len() > MOST;
    found.truncate(MOST);
    for version in found {
        if let Some(sealed) = seal_one(app, member, &version, to).await? {
            handed.keys.insert(version.name, sealed);
        }
    }
    note(app, origin, member, &handed.keys).await?;
    Ok(handed)
}

/// The current versions that tools may read in any VM. When they are more than [`MOST`], some of those
/// that are too many are among them.
async fn readable(app: &App, tenant: TenantId) -> Result<Vec<DeliverableVersion>, ApiError> {
    let now = app.clock.now();
    let mut versions = app.store.deliverable_versions(tenant, now);
    let mut readable = Vec::new();
    while readable.len() <= MOST
        && let Some(page) = versions.page().await?
    {
        for found in page {
            let policy: Policy = serde_json::from_str(&found.policy).map_err(ApiError::internal)?;
            if found.version == found.current_version && policy.admits_any_reader(now) {
                readable.push(found);
            }
        }
    }
    Ok(readable)
}

async fn seal_one(
    app: &App,
    member: Member,
    found: &DeliverableVersion,
    to: ClientKey,
) -> Result<Option<SealedKey>, ApiError> {
    let place = (member.tenant, found.id);
    let stored = app.store.sealed_version(place, found.version).await?;
    // Destroyed since it was found.
    let Some(stored) = stored else {
        return Ok(None);
    };
    let version = u32::try_from(found.version).map_err(ApiError::internal)?;
    let name: KeyName = found.name.parse().map_err(ApiError::internal)?;
    let context = record_context(member.tenant, found.id, version);
    let value = master_key::open(app, &context, &stored).await;
    let value = value.map_err(ApiError::internal)?;
    let info = login_info(member.user.bytes(), &name, version);
    let sealed = sealed::seal(&app.arena, &mut app.rng(), to.0, &info, &value);
    let sealed = sealed.map_err(|cause| match cause {
        SealedError::NotContributory(_) => ApiError::invalid("public_key", "is no usable key"),
        other => ApiError::internal(other),
    })?;
    Ok(Some(SealedKey {
        provider: found.provider.clone(),
        version,
        sealed: Base64UrlUnpadded::encode_string(&sealed),
    }))
}

/// What cannot be written down is not handed out.
async fn note(
    app: &App,
    origin: &Origin,
    member: Member,
    handed: &SealedKeys,
) -> Result<(), ApiError> {
    let keys: Vec<_> = handed
        .iter()
        .map(|(name, key)| json!({ "key": name, "version": key.version }))
        .collect();
    let entry = Entry {
        tenant: Some(member.tenant),
        actor: &format!("user:{}", member.user),
        action: "key.handed_to_login",
        subject: None,
        detail: json!({ "keys": keys }),
        correlation: origin.request_id,
    };
    Ok(audit::append(app, &entry).await?)
}

impl From<ClientKey> for PublicKey {
    fn from(key: ClientKey) -> Self {
        key.0
    }
}

impl FromStr for ClientKey {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        match Base64UrlUnpadded::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Ok(Self(PublicKey(bytes))),
            _ => Err("is 32 bytes in base64url"),
        }
    }
}

impl<'de> Deserialize<'de> for ClientKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for ClientKey {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ClientKey".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{43}$" })
    }
}

/// So that an answer has a bound.
const MOST: usize = 100;
