//! What a virtual machine was told, and what it acknowledged.

use schemars::JsonSchema;
use serde::Serialize;

use super::vm::owned;
use crate::app::App;
use crate::error::ApiError;
use crate::page::{List, Page};
use crate::sessions::{Permission, SignedIn};
use crate::store::{UnixTime, VmId};

/// One version of a key in a VM.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HeldVersion {
    key: String,
    version: i64,
    told: String,
    told_at: UnixTime,
    acked_at: Option<UnixTime>,
    outcome: Option<String>,
}

/// Every version that a VM was ever told of, by key and version.
pub(crate) async fn held(
    app: &App,
    caller: &SignedIn,
    id: VmId,
    page: &Page,
) -> Result<List<HeldVersion>, ApiError> {
    caller.require(Permission::VmRead)?;
    let vm = owned(app, caller, id).await?;
    let after = match &page.after {
        None => ("", 0),
        Some(cursor) => cursor
            .split_once(' ')
            .and_then(|(key, version)| Some((key, version.parse().ok()?)))
            .ok_or_else(|| ApiError::invalid("cursor", "is not one of this list"))?,
    };
    let stored = app
        .store
        .held((caller.tenant_id(), vm.id), after, page.rows())
        .await?;
    let versions = stored.into_iter().map(|stored| HeldVersion {
        key: stored.key,
        version: stored.version,
        told: stored.told,
        told_at: stored.told_at,
        acked_at: stored.acked_at,
        outcome: stored.outcome,
    });
    Ok(List::new(versions.collect(), page, |one| {
        format!("{} {}", one.key, one.version)
    }))
}
