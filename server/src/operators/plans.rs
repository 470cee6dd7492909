//! Plans, which the admins of this server change while it runs.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Operator;
use crate::app::App;
use crate::audit::Entry;
use crate::error::ApiError;
use crate::sessions::ServerAdmin;
use crate::store::StoredPlan;
use crate::tenants::Plan;
use crate::whole_number;

/// What a plan is called.
pub(crate) struct PlanName(String);

/// What a plan allows; what is left out stays, and `null` is no limit.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlanLimits {
    #[serde(default, deserialize_with = "whole_number::named")]
    #[schemars(with = "Option<i32>", range(min = 1))]
    pub(crate) requests_per_minute: Option<Option<i32>>,
    #[serde(default, deserialize_with = "whole_number::named")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub(crate) vms: Option<Option<i32>>,
    #[serde(default, deserialize_with = "whole_number::named")]
    #[schemars(with = "Option<i32>", range(min = 0))]
    pub(crate) storage_gb: Option<Option<i32>>,
    #[schemars(length(max = MOST_FEATURES), inner(regex(pattern = FEATURE)))]
    pub(crate) features: Option<Vec<String>>,
}

/// Changes what a plan allows, from the next request of its tenants on.
pub(crate) async fn change_limits(
    app: &App,
    admin: &ServerAdmin,
    plan: PlanName,
    wanted: PlanLimits,
) -> Result<Plan, ApiError> {
    set_limits(app, &Operator::from(admin), (&plan, &wanted)).await
}

/// The same by any operator.
pub(crate) async fn set_limits(
    app: &App,
    by: &Operator,
    (plan, wanted): (&PlanName, &PlanLimits),
) -> Result<Plan, ApiError> {
    wanted.must_be_possible()?;
    let mut change = app.store.begin().await?;
    let before = change.hold_plan(&plan.0).await?;
    let after = wanted.over(before.ok_or(ApiError::NotFound)?)?;
    change.put_plan(&after).await?;
    let plan = Plan::of(after)?;
    let entry = Entry {
        tenant: None,
        actor: &by.actor,
        action: "operator.plan_changed",
        subject: Some(plan.name()),
        detail: json!({ "plan": plan }),
        correlation: by.request_id,
    };
    change.insert_audit_event(app, &entry).await?;
    change.commit().await?;
    Ok(plan)
}

impl PlanLimits {
    fn must_be_possible(&self) -> Result<(), ApiError> {
        let below =
            |limit: Option<Option<i32>>, least| limit.flatten().is_some_and(|it| it < least);
        if below(self.requests_per_minute, 1) {
            return Err(ApiError::invalid("requests_per_minute", "is at least 1"));
        }
        if below(self.vms, 0) || below(self.storage_gb, 0) {
            let field = if below(self.vms, 0) {
                "vms"
            } else {
                "storage_gb"
            };
            return Err(ApiError::invalid(field, "is at least 0"));
        }
        let features = self.features.as_deref().unwrap_or_default();
        if features.len() > MOST_FEATURES || !features.iter().all(|name| is_feature(name)) {
            let detail = "are at most 32 words of lower case letters, digits, - and _";
            return Err(ApiError::invalid("features", detail));
        }
        Ok(())
    }

    fn over(&self, before: StoredPlan) -> Result<StoredPlan, ApiError> {
        let features = self.features.as_ref().map(serde_json::to_string);
        let features = features.transpose().map_err(ApiError::internal)?;
        Ok(StoredPlan {
            requests_per_minute: self
                .requests_per_minute
                .unwrap_or(before.requests_per_minute),
            vms: self.vms.unwrap_or(before.vms),
            storage_gb: self.storage_gb.unwrap_or(before.storage_gb),
            features: features.unwrap_or(before.features),
            name: before.name,
        })
    }
}

impl FromStr for PlanName {
    type Err = ApiError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

fn is_feature(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
}

/// As [`is_feature`] sees it.
const FEATURE: &str = "^[a-z][a-z0-9_-]{0,39}$";
const MOST_FEATURES: usize = 32;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Operator, set_limits};
    use crate::error::ApiError;
    use crate::testing::{self, ORIGIN, Server};

    async fn change(server: &Server, plan: &str, limits: Value) -> Result<Value, ApiError> {
        let limits = serde_json::from_value(limits).unwrap();
        let by = Operator::on_host(&ORIGIN);
        let changed = set_limits(&server.app, &by, (&plan.parse().unwrap(), &limits)).await?;
        Ok(serde_json::to_value(changed).unwrap())
    }

    #[tokio::test]
    async fn what_is_left_out_stays_and_null_is_no_limit() {
        let server = testing::server().await;
        let limits = json!({ "vms": null, "features": ["workbenches", "beta_2"] });
        let free = json!({
            "name": "free", "requests_per_minute": 100, "vms": null, "storage_gb": 10,
            "features": ["workbenches", "beta_2"],
        });
        assert_eq!(change(&server, "free", limits).await.unwrap(), free);
        assert_eq!(change(&server, "free", json!({})).await.unwrap(), free);
        let unknown = change(&server, "gold", json!({ "vms": 1 })).await;
        assert!(matches!(unknown, Err(ApiError::NotFound)));
    }

    #[tokio::test]
    async fn an_impossible_limit_is_refused() {
        let server = testing::server().await;
        for limits in [
            json!({ "requests_per_minute": 0 }),
            json!({ "vms": -1 }),
            json!({ "storage_gb": -1 }),
            json!({ "features": ["Capital"] }),
            json!({ "features": [""] }),
            json!({ "features": vec!["a"; 33] }),
        ] {
            let refused = change(&server, "free", limits.clone()).await;
            assert!(matches!(refused, Err(ApiError::Invalid(_))), "{limits}");
        }
    }
}
