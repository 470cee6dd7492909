//! Tenants, as the admins of this server see them, and the plans that they put them on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Operator, Search};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::page::List;
use crate::sessions::ServerAdmin;
use crate::store::{StoredTenant, TenantId, UnixTime};

/// A tenant and how much it has.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HostedTenant {
    id: TenantId,
    name: String,
    plan: String,
    members: i64,
    keys: i64,
    vms: i64,
    created_at: UnixTime,
}

/// The body of `PATCH /admin/tenants/{tenant}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanChange {
    plan: String,
}

/// The tenants that are looked for, oldest first.
pub(crate) async fn tenants(
    app: &App,
    _admin: &ServerAdmin,
    search: &Search,
) -> Result<List<HostedTenant>, ApiError> {
    let page = &search.page;
    let after = page.after_id_or_first()?;
    let stored = app.store.tenants(after, page.rows(), search.pattern());
    let tenants = stored.await?.into_iter().map(HostedTenant::from).collect();
    Ok(List::new(tenants, page, |tenant| tenant.id.to_string()))
}

/// Puts a tenant on another plan.
pub(crate) async fn change_tenant(
    app: &App,
    admin: &ServerAdmin,
    tenant: TenantId,
    wanted: PlanChange,
) -> Result<HostedTenant, ApiError> {
    change_plan(app, &Operator::from(admin), (tenant, &wanted.plan)).await?;
    let stored = app.store.tenant(tenant).await?;
    stored.map(HostedTenant::from).ok_or(ApiError::NotFound)
}

/// Puts the tenant on this plan; what it has already stays.
pub(crate) async fn change_plan(
    app: &App,
    by: &Operator,
    (tenant, plan): (TenantId, &str),
) -> Result<(), ApiError> {
    let plans = app.store.plans().await?;
    if !plans.iter().any(|known| known.name == plan) {
        let names: Vec<_> = plans.iter().map(|known| known.name.as_str()).collect();
        let detail = format!("is none of this server's: {}", names.join(", "));
        return Err(ApiError::invalid("plan", detail));
    }
    let mut change = app.store.begin().await?;
    if !change.change_plan(tenant, plan).await? {
        return Err(ApiError::NotFound);
    }
    let entry = Entry {
        tenant: Some(tenant),
        actor: &by.actor,
        action: "operator.change_plan",
        subject: None,
        detail: json!({ "plan": plan }),
        correlation: by.request_id,
    };
    change.insert_audit_event(app, &entry).await?;
    Ok(change.commit().await?)
}

impl From<StoredTenant> for HostedTenant {
    fn from(stored: StoredTenant) -> Self {
        Self {
            id: stored.id,
            name: stored.name,
            plan: stored.plan,
            members: stored.members,
            keys: stored.keys,
            vms: stored.vms,
            created_at: stored.created_at,
        }
    }
}
