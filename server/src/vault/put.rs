//! Puts a new key into the vault.

use keyferry_protocol::ids::KeyName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::key::{Key, Provider, owned, record_context};
use super::policy::{NewPolicy, Policy};
use super::seal;
use super::value::{Offered, Value};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::secret::Secret;
use crate::sessions::{Permission, SignedIn};
use crate::store::{NewKeyRow, NewVersionRow, ProviderKeyId, TenantId, Transaction};
use crate::whole_number;

/// The body of `PUT /keys/{name}`.
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
pub(crate) struct NewKey {
    provider: Provider,
    #[schemars(length(min = 1, max = 8192), regex(pattern = r"^[^\x00\r\n]+$"))]
    value: Option<Secret>,
    sealed: Option<String>,
    #[serde(default, deserialize_with = "whole_number::optional")]
    version: Option<u32>,
    #[serde(default)]
    policy: NewPolicy,
}

/// Seals the value and stores it as version 1.
pub(crate) async fn put(
    app: &App,
    caller: &SignedIn,
    name: KeyName,
    new: NewKey,
) -> Result<Key, ApiError> {
    caller.require(Permission::VaultWrite)?;
    let now = app.clock.now();
    let policy = new.policy.complete(now)?;
    let offered = Offered {
        value: new.value,
        sealed: new.sealed,
        version: new.version,
    };
    let value = offered.take(app, caller, (&name, 1))?;
    let id = ProviderKeyId::new(now, &mut app.rng());
    let version = sealed_version(app, caller.tenant_id(), (id, 1), value)?;
    let key = NewKeyRow {
        id,
        tenant: caller.tenant_id(),
        name: name.to_string(),
        provider: new.provider.name(),
        policy: serde_json::to_string(&policy).map_err(ApiError::internal)?,
        created_by: caller.user_id(),
        created_at: now,
    };
    store(app, caller, (&key, &version), &policy).await?;
    Key::of(owned(app, caller, &name).await?)
}

async fn store(
    app: &App,
    caller: &SignedIn,
    (key, version): (&NewKeyRow, &NewVersionRow),
    policy: &Policy,
) -> Result<(), ApiError> {
    let mut change = app.store.begin().await?;
    hold_a_place(&mut change, key.tenant).await?;
    change.insert_key(key).await?;
    change.insert_version(version).await?;
    let actor = caller.actor();
    let entry = Entry {
        tenant: Some(key.tenant),
        actor: &actor,
        action: "key.put",
        subject: Some(&key.name),
        detail: json!({ "version": 1, "provider": key.provider, "policy": policy }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    let tenant = key.tenant;
    bus::commit(app, change, &[Event::KeysChanged { tenant }]).await?;
    Ok(())
}

/// Holds the tenant for one more key. All of them are read whenever an agent is told what it may have.
pub(crate) async fn hold_a_place(
    change: &mut Transaction,
    tenant: TenantId,
) -> Result<(), ApiError> {
    change.hold_tenant(tenant).await?;
    match change.count_active_keys(tenant).await? {
        0..MOST_KEYS => Ok(()),
        _ => Err(ApiError::TooMany),
    }
}

/// Seals a value for its place in the database. The plaintext ends here.
pub(super) fn sealed_version(
    app: &App,
    tenant: TenantId,
    (key, version): (ProviderKeyId, u32),
    value: Value,
) -> Result<NewVersionRow, ApiError> {
    let context = record_context(tenant, key, version);
    let sealed = seal::seal(&app.master_key, &mut app.rng(), &context, &value.plain);
    Ok(NewVersionRow {
        key,
        version: version.into(),
        tenant,
        sealed: sealed.map_err(ApiError::internal)?,
        fingerprint: value.fingerprint,
        last4: value.last4,
        created_at: app.clock.now(),
    })
}

/// Of one tenant, not revoked.
pub(crate) const MOST_KEYS: i64 = 1_000;
