//! Gives a key a new version.

use std::time::Duration;

use keyferry_protocol::ids::KeyName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::key::{Key, owned};
use super::put::sealed_version;
use super::value::Offered;
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::{Permission, SignedIn};
use crate::store::{NewVersionRow, StoredKey};
use crate::whole_number;

/// The body of `POST /keys/{name}/rotate`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {
        "required": ["value"],
        "properties": { "value": { "type": "string" }, "sealed": { "type": "null" } },
    },
    {
        "required": ["sealed", "version"],
        "properties": {
            "sealed": { "type": "string" },
            "version": { "type": "integer" },
            "value": { "type": "null" },
        },
    },
]))]
pub(crate) struct NewVersion {
    #[schemars(length(min = 1, max = 8192), regex(pattern = r"^[^\x00\r\n]+$"))]
    value: Option<Secret>,
    sealed: Option<String>,
    #[serde(default, deserialize_with = "whole_number::optional")]
    version: Option<u32>,
    #[serde(default, deserialize_with = "whole_number::given")]
    #[schemars(range(max = 86_400))]
    overlap_seconds: u32,
}

/// Stores the next version and tells every VM; the old one stays deliverable for the overlap.
pub(crate) async fn rotate(
    app: &App,
    caller: &SignedIn,
    name: KeyName,
    new: NewVersion,
) -> Result<Key, ApiError> {
    caller.require(Permission::VaultWrite)?;
    if new.overlap_seconds > LONGEST_OVERLAP {
        return Err(ApiError::invalid(
            "overlap_seconds",
            "is 0 to 86400 seconds",
        ));
    }
    let key = owned(app, caller, &name).await?;
    if key.status != "active" {
        return Err(ApiError::KeyRevoked);
    }
    let next = key.version() + 1;
    let offered = Offered {
        value: new.value,
        sealed: new.sealed,
        version: new.version,
    };
    let value = offered.take(app, caller, (&name, next))?;
    let version = sealed_version(app, caller.tenant_id(), (key.id, next), value)?;
    take_its_place(app, caller, &key, (version, new.overlap_seconds)).await?;
    Key::of(owned(app, caller, &name).await?)
}

/// The new version, the end of the one before, and what is said of it are one transaction.
async fn take_its_place(
    app: &App,
    caller: &SignedIn,
    key: &StoredKey,
    (version, overlap_seconds): (NewVersionRow, u32),
) -> Result<(), ApiError> {
    let (tenant, old) = (caller.tenant_id(), key.version().into());
    let now = app.clock.now();
    let overlap = Duration::from_secs(overlap_seconds.into());
    let mut change = app.store.begin().await?;
    if !change.advance_key((tenant, key.id), old, now).await? {
        return Err(ApiError::VersionConflict);
    }
    change.insert_version(&version).await?;
    change
        .retire_version((tenant, key.id), old, now + overlap)
        .await?;
    change
        .end_overlaps((tenant, key.id), old - MOST_OVERLAPS, now)
        .await?;
    change
        .destroy_retired_versions((tenant, key.id), now)
        .await?;
    let actor = caller.actor();
    let entry = Entry {
        tenant: Some(tenant),
        actor: &actor,
        action: "key.rotate",
        subject: Some(&key.name),
        detail: json!({ "version": version.version, "overlap_seconds": overlap_seconds }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    Ok(bus::commit(app, change, &[Event::KeysChanged { tenant }]).await?)
}

const LONGEST_OVERLAP: u32 = 86_400;
/// Of one key: beyond these the oldest version ends early.
const MOST_OVERLAPS: i64 = 10;
