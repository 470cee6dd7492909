//! Takes a key back: every version destroyed here, zeroed in every VM.

use keyferry_protocol::ids::KeyName;
use serde_json::json;

use super::key::{Key, owned};
use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::sessions::{Permission, SignedIn};

/// Destroys every version of a key and keeps its history.
pub(crate) async fn revoke(app: &App, caller: &SignedIn, name: KeyName) -> Result<Key, ApiError> {
    caller.require(Permission::VaultWrite)?;
    let key = owned(app, caller, &name).await?;
    if key.status == "revoked" {
        return Key::of(key);
    }
    let now = app.clock.now();
    let mut change = app.store.begin().await?;
    change.revoke_key((caller.tenant_id(), key.id), now).await?;
    change
        .destroy_all_versions((caller.tenant_id(), key.id), now)
        .await?;
    let actor = caller.actor();
    change
        .insert_audit_event(app, &entry(caller, &actor, &name, "key.revoke"))
        .await?;
    let tenant = caller.tenant_id();
    bus::commit(app, change, &[Event::KeysChanged { tenant }]).await?;
    Key::of(owned(app, caller, &name).await?)
}

/// Revokes a key and forgets it.
pub(crate) async fn remove(app: &App, caller: &SignedIn, name: KeyName) -> Result<(), ApiError> {
    caller.require(Permission::VaultWrite)?;
    let key = owned(app, caller, &name).await?;
    let mut change = app.store.begin().await?;
    change.delete_key((caller.tenant_id(), key.id)).await?;
    let actor = caller.actor();
    change
        .insert_audit_event(app, &entry(caller, &actor, &name, "key.delete"))
        .await?;
    let tenant = caller.tenant_id();
    bus::commit(app, change, &[Event::KeysChanged { tenant }]).await?;
    Ok(())
}

fn entry<'a>(
    caller: &SignedIn,
    actor: &'a str,
    name: &'a KeyName,
    action: &'static str,
) -> Entry<'a> {
    Entry {
        tenant: Some(caller.tenant_id()),
        actor,
        action,
        subject: Some(name.as_str()),
        detail: json!({}),
        correlation: caller.request_id(),
    }
}
