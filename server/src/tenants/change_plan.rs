//! Puts a tenant on another plan: the operator's affair.

use serde_json::json;

use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::Origin;
use crate::store::TenantId;

/// Puts the tenant on this plan; what it has already stays.
pub(crate) async fn change_plan(
    app: &App,
    origin: &Origin,
    (tenant, plan): (TenantId, &str),
) -> Result<(), ApiError> {
    let plans = app.store.plans().await?;
    if !plans.iter().any(|known| known.name == plan) {
        return Err(ApiError::invalid("plan", "is none of this server's"));
    }
    let mut change = app.store.begin().await?;
    if !change.change_plan(tenant, plan).await? {
        return Err(ApiError::NotFound);
    }
    let entry = Entry {
        tenant: Some(tenant),
        actor: "operator",
        action: "operator.change_plan",
        subject: None,
        detail: json!({ "plan": plan }),
        correlation: origin.request_id,
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(())
}
