//! `keyferry admin plans`.

use hyper::Method;
use serde_json::{Map, Value};

use crate::arguments::{Limit, PlanLimits, Plans};
use crate::error::CliError;
use crate::output::{Reply, cell, words};
use crate::rest::segment;
use crate::session::SignedIn;
use crate::team::list_plans;

/// Runs one of the commands.
pub(super) async fn run(caller: &SignedIn, command: Plans) -> Result<Reply, CliError> {
    match command {
        Plans::List => list_plans(caller).await,
        Plans::Set(limits) => set(caller, &limits).await,
    }
}

async fn set(caller: &SignedIn, wanted: &PlanLimits) -> Result<Reply, CliError> {
    let path = format!("/admin/plans/{}", segment(&wanted.plan));
    let body = Value::Object(members(wanted));
    let plan = caller.send_json(Method::PATCH, &path, &body).await?;
    let human = format!(
        "{}: {} requests a minute, {} machines, {} GB, features: {}; a dash is no limit",
        cell(&plan, "name"),
        cell(&plan, "requests_per_minute"),
        cell(&plan, "vms"),
        cell(&plan, "storage_gb"),
        words(&plan, "features")
    );
    Ok(Reply::new(human, plan))
}

fn members(wanted: &PlanLimits) -> Map<String, Value> {
    let limits = [
        ("requests_per_minute", wanted.requests_per_minute),
        ("vms", wanted.vms),
        ("storage_gb", wanted.storage_gb),
    ];
    let named = limits.into_iter();
    let named = named.filter_map(|(name, limit)| {
        let Limit(limit) = limit?;
        Some((name.to_owned(), limit.into()))
    });
    let mut members: Map<String, Value> = named.collect();
    if wanted.no_features || !wanted.features.is_empty() {
        members.insert("features".to_owned(), wanted.features.clone().into());
    }
    members
}
