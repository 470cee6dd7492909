//! What a restore holds back until an operator has looked at it.

use serde_json::json;

use crate::app::App;
use crate::audit::Entry;
use crate::bus::{self, Event};
use crate::error::ApiError;
use crate::sessions::Origin;
use crate::store::{HeldBackRow, TenantId};

/// What waits in one tenant, or in all.
pub(crate) async fn held_back(
    app: &App,
    tenant: Option<TenantId>,
) -> Result<Vec<HeldBackRow>, ApiError> {
    Ok(app.store.held_back(tenant).await?)
}

/// Lets it live on; how much it was.
pub(crate) async fn confirm(
    app: &App,
    origin: &Origin,
    tenant: Option<TenantId>,
) -> Result<usize, ApiError> {
    let rows = held_back(app, tenant).await?;
    let mut change = app.store.begin().await?;
    change.confirm_held_back(tenant).await?;
    let mut tenants: Vec<TenantId> = rows.iter().map(|row| row.tenant_id).collect();
    tenants.sort();
    tenants.dedup();
    for tenant in &tenants {
        let names = rows.iter().filter(|row| row.tenant_id == *tenant);
        let names: Vec<String> = names.map(HeldBackRow::to_string).collect();
        let entry = Entry {
            tenant: Some(*tenant),
            actor: "operator",
            action: "operator.restore_confirmed",
            subject: None,
            detail: json!({ "confirmed": names }),
            correlation: origin.request_id,
        };
        change.insert_audit_event(app, &entry).await?;
    }
    let changed = tenants.into_iter();
    let changed = changed.map(|tenant| Event::KeysChanged { tenant });
    bus::commit(app, change, &changed.collect::<Vec<_>>()).await?;
    Ok(rows.len())
}
