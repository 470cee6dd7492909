//! Makes tenants and changes what they are called.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::MOST_TENANTS;
use super::list::OwnTenant;
use super::plan::FREE;
use super::reach::Reach;
use crate::accounts::{self, free_text};
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::{BuiltIn, Permission, SignedIn};
use crate::store::TenantId;

/// The body of `POST /tenants`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    #[schemars(length(min = 1, max = 100), regex(pattern = accounts::NAME))]
    name: String,
}

/// The body of `PATCH /tenants/current`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantChange {
    #[schemars(length(min = 1, max = 100), regex(pattern = accounts::NAME))]
    name: Option<String>,
    /// Whether members must have a second factor. Who demands it must have one.
    mfa_required: Option<bool>,
}

/// The tenant that the caller is signed in to.
pub(crate) async fn show_tenant(app: &App, caller: &SignedIn) -> Result<OwnTenant, ApiError> {
    own(app, caller, caller.tenant_id()).await
}

/// Makes a tenant that the caller owns. Nobody owns more than one that costs nothing: else its
/// limits would be none.
pub(crate) async fn add_tenant(
    app: &App,
    caller: &SignedIn,
    new: NewTenant,
) -> Result<OwnTenant, ApiError> {
    caller.session_id()?;
    let name = name(&new.name)?;
    let now = app.clock.now();
    let id = TenantId::new(now, &mut app.rng());
    let mut change = app.store.begin().await?;
    if change.owned_tenants(caller.user_id(), FREE).await? > 0 {
        return Err(ApiError::PlanLimit);
    }
    if change.count_tenants_of(caller.user_id()).await? >= MOST_TENANTS {
        return Err(ApiError::TooMany);
    }
    change.insert_tenant(id, &name, now).await?;
    let owner = BuiltIn::Owner.name();
    change
        .insert_membership((id, caller.user_id()), owner, now)
        .await?;
    let entry = Entry {
        tenant: Some(id),
        actor: &caller.actor(),
        action: "tenant.add",
        subject: None,
        detail: json!({ "name": name }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    own(app, caller, id).await
}

/// Renames the caller's tenant, or says whether its members must have a second factor.
pub(crate) async fn change_tenant(
    app: &App,
    caller: &SignedIn,
    wanted: TenantChange,
) -> Result<OwnTenant, ApiError> {
    caller.require(Permission::TenantAdmin)?;
    let tenant = caller.tenant_id();
    let name = wanted.name.as_deref().map(name).transpose()?;
    if wanted.mfa_required == Some(true) && !app.store.has_totp(caller.user_id()).await? {
        return Err(ApiError::SecondFactorOwed);
    }
    let mut change = app.store.begin().await?;
    Reach::hold(&mut change, caller, Permission::TenantAdmin).await?;
    let values = (name.as_deref(), wanted.mfa_required);
    change.change_tenant(tenant, values).await?;
    let entry = Entry {
        tenant: Some(tenant),
        actor: &caller.actor(),
        action: "tenant.change",
        subject: None,
        detail: json!({ "name": name, "mfa_required": wanted.mfa_required }),
        correlation: caller.request_id(),
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    own(app, caller, tenant).await
}

async fn own(app: &App, caller: &SignedIn, tenant: TenantId) -> Result<OwnTenant, ApiError> {
    let stored = app.store.membership(tenant, caller.user_id()).await?;
    stored.map(OwnTenant::from).ok_or(ApiError::NotFound)
}

fn name(text: &str) -> Result<String, ApiError> {
    free_text("name", Some(text))?.ok_or_else(|| ApiError::invalid("name", "is empty"))
}
