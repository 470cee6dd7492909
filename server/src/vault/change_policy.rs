//! Changes a key's policy; its value stays.

use keyferry_protocol::ids::KeyName;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::key::{Key, owned};
use super::policy::{NewPolicy, Policy};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::sessions::{Permission, SignedIn};

/// The body of `PATCH /keys/{name}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyChange {
    policy: NewPolicy,
}

/// Replaces the members that are named; every VM concerned is told.
pub(crate) async fn change_policy(
    app: &App,
    caller: &SignedIn,
    name: KeyName,
    wanted: KeyChange,
) -> Result<Key, ApiError> {
    caller.require(Permission::VaultWrite)?;
    let key = owned(app, caller, &name).await?;
    let place = (caller.tenant_id(), key.id);
    let mut change = app.store.begin().await?;
    let before = change.hold_key_policy(place).await?;
    let before = before.ok_or(ApiError::KeyRevoked)?;
    let before: Policy = serde_json::from_str(&before).map_err(ApiError::internal)?;
    let policy = wanted.policy.over(before, app.clock.now())?;
    let text = serde_json::to_string(&policy).map_err(ApiError::internal)?;
    change.change_key_policy(place, &text).await?;
    let actor = caller.actor();
    let entry = Entry {
        tenant: Some(caller.tenant_id()),
        actor: &actor,
        action: "key.policy",
        subject: Some(name.as_str()),
        detail: json!({ "policy": policy }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    let tenant = caller.tenant_id();
    bus::commit(app, change, &[Event::KeysChanged { tenant }]).await?;
    Key::of(owned(app, caller, &name).await?)
}
