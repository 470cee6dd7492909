//! What a plan allows, as flags of `keyferry-server admin limits`.

use std::num::ParseIntError;

use clap::{ArgGroup, Args};

use super::Failure;
use super::init::explain;
use crate::app::App;
use crate::error::ApiError;
use crate::operators::{self, Operator, PlanLimits};
use crate::tenants::Plan;

#[derive(Args)]
#[command(group(ArgGroup::new("limits").required(true).multiple(true)
    .args(["requests_per_minute", "vms", "storage_gb", "features", "no_features"])))]
pub(super) struct LimitFlags {
    /// The plan's name, such as pro
    plan: String,
    /// Requests of a tenant in a minute, or none for no limit
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    requests_per_minute: Option<Limit>,
    /// VMs of a tenant, or none for no limit
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    vms: Option<Limit>,
    /// Gigabytes, for the services that read it, or none for no limit
    #[arg(long, value_name = "NUMBER", value_parser = limit)]
    storage_gb: Option<Limit>,
    /// A feature, for the services that read it; can be repeated, and replaces all that there were
    #[arg(long = "feature", value_name = "NAME", conflicts_with = "no_features")]
    features: Vec<String>,
    /// No features at all
    #[arg(long)]
    no_features: bool,
}

/// A number, or no limit.
#[derive(Clone, Copy)]
struct Limit(Option<i32>);

/// Changes the plan; what it is from now on.
pub(super) async fn set(app: &App, by: &Operator, flags: LimitFlags) -> Result<Plan, Failure> {
    let named = flags.no_features || !flags.features.is_empty();
    let wanted = PlanLimits {
        requests_per_minute: flags.requests_per_minute.map(|limit| limit.0),
        vms: flags.vms.map(|limit| limit.0),
        storage_gb: flags.storage_gb.map(|limit| limit.0),
        features: named.then_some(flags.features),
    };
    let name = flags.plan.parse().map_err(explain)?;
    match operators::set_limits(app, by, (&name, &wanted)).await {
        Err(ApiError::NotFound) => Err("there is no such plan".into()),
        changed => changed.map_err(explain),
    }
}

fn limit(text: &str) -> Result<Limit, ParseIntError> {
    match text {
        "none" => Ok(Limit(None)),
        number => number.parse().map(|number| Limit(Some(number))),
    }
}
