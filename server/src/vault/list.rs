//! What the vault holds, never the values.

use keyferry_protocol::ids::KeyName;
use schemars::JsonSchema;
use serde::Serialize;

use super::key::{Key, owned};
use crate::app::App;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::{Permission, SignedIn};
use crate::store::UnixTime;

/// One version in a key's history.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Version {
    version: i64,
    fingerprint: String,
    last4: Option<String>,
    created_at: UnixTime,
    retire_at: Option<UnixTime>,
    destroyed_at: Option<UnixTime>,
}

/// The tenant's keys, by name.
pub(crate) async fn list(app: &App, caller: &SignedIn, page: &Page) -> Result<List<Key>, ApiError> {
    caller.require(Permission::VaultRead)?;
    let after = page.after.as_deref().unwrap_or_default();
    let keys = app
        .store
        .keys(caller.tenant_id(), after, page.rows())
        .await?;
    let keys = keys.into_iter().map(Key::of).collect::<Result<_, _>>()?;
    Ok(List::new(keys, page, Key::sorts_by))
}

/// One key.
pub(crate) async fn show(app: &App, caller: &SignedIn, name: KeyName) -> Result<Key, ApiError> {
    caller.require(Permission::VaultRead)?;
    Key::of(owned(app, caller, &name).await?)
}

/// The history of one key, newest first.
pub(crate) async fn versions(
    app: &App,
    caller: &SignedIn,
    name: KeyName,
    page: &Page,
) -> Result<List<Version>, ApiError> {
    caller.require(Permission::VaultRead)?;
    let key = owned(app, caller, &name).await?;
    let before = match &page.after {
        None => i64::MAX,
        Some(text) => text
            .parse()
            .map_err(|_| ApiError::invalid("cursor", "is not one of this list"))?,
    };
    let stored = app
        .store
        .versions((caller.tenant_id(), key.id), before, page.rows())
        .await?;
    let versions = stored.into_iter().map(|stored| Version {
        version: stored.version,
        fingerprint: stored.fingerprint,
        last4: stored.last4,
        created_at: stored.created_at,
        retire_at: stored.retire_at,
        destroyed_at: stored.destroyed_at,
    });
    Ok(List::new(versions.collect(), page, |version| {
        version.version.to_string()
    }))
}
