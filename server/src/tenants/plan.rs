//! Plans: what a tenant may use. They are rows of the database, not code.

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::App;
use crate::error::ApiError;
use crate::page::List;
use crate::store::StoredPlan;

/// A plan; a limit that is `null` does not bind. This server enforces requests and VMs, the rest
/// is for the services that read it in `/auth/me` and in access tokens.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Plan {
    name: String,
    requests_per_minute: Option<i32>,
    vms: Option<i32>,
    storage_gb: Option<i32>,
    features: Vec<String>,
}

impl Plan {
    pub(crate) fn of(stored: StoredPlan) -> Result<Self, ApiError> {
        Ok(Self {
            features: serde_json::from_str(&stored.features).map_err(ApiError::internal)?,
            name: stored.name,
            requests_per_minute: stored.requests_per_minute,
            vms: stored.vms,
            storage_gb: stored.storage_gb,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            name: "free".to_owned(),
            requests_per_minute: Some(100),
            vms: Some(3),
            storage_gb: Some(10),
            features: Vec::new(),
        }
    }
}

/// What a new tenant is on.
pub(super) const FREE: &str = "free";

/// Every plan, from the smallest to the largest.
pub(crate) async fn plans(app: &App) -> Result<List<Plan>, ApiError> {
    let stored = app.store.plans().await?;
    let plans = stored.into_iter().map(Plan::of).collect::<Result<_, _>>()?;
    Ok(List::whole(plans))
}
