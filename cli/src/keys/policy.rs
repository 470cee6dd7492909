//! `keyferry keys policy`.

use hyper::Method;
use serde_json::{Map, Value, json};

use super::{one_line, path};
use crate::arguments::{ChangePolicy, Terms};
use crate::error::CliError;
use crate::output::Reply;
use crate::session::SignedIn;
use crate::vms::find;

/// Changes where a key goes and what it may be used for.
pub(crate) async fn change_policy(
    caller: &SignedIn,
    arguments: &ChangePolicy,
) -> Result<Reply, CliError> {
    let mut policy = terms(caller, &arguments.terms).await?;
    let plain = [
        (arguments.raw, "delivery", json!("raw")),
        (arguments.inject, "delivery", json!("inject")),
        (arguments.all_vms, "vms", json!("all")),
        (arguments.provider_hosts, "allowed_hosts", json!([])),
        (arguments.any_tool, "tools", json!([])),
        (arguments.no_budget, "budget", json!({})),
    ];
    let set = plain.into_iter().filter(|(wanted, ..)| *wanted);
    policy.extend(set.map(|(_, member, value)| (member.to_owned(), value)));
    if policy.is_empty() {
        return Err(CliError::NothingToChange);
    }
    let path = path(&arguments.key.name);
    let body = json!({ "policy": policy });
    let key = caller.send_json(Method::PATCH, &path, &body).await?;
    Ok(Reply::new(format!("changed {}", one_line(&key)), key))
}

/// The members of a policy that were named.
pub(super) async fn terms(
    caller: &SignedIn,
    terms: &Terms,
) -> Result<Map<String, Value>, CliError> {
    let mut policy = Map::new();
    if !terms.vms.is_empty() {
        let mut ids = Vec::new();
        for vm in &terms.vms {
            ids.push(find(caller, vm).await?.id);
        }
        policy.insert("vms".into(), ids.into());
    }
    if let Some(lease) = terms.lease {
        policy.insert("lease_seconds".into(), lease.into());
    }
    if let Some(expiry) = terms.expires {
        policy.insert("expires_at".into(), expiry.json());
    }
    if !terms.allowed_hosts.is_empty() {
        policy.insert("allowed_hosts".into(), terms.allowed_hosts.clone().into());
    }
    if !terms.tools.is_empty() {
        policy.insert("tools".into(), terms.tools.clone().into());
    }
    let budget = budget(terms);
    if !budget.is_empty() {
        policy.insert("budget".into(), budget.into());
    }
    Ok(policy)
}

fn budget(terms: &Terms) -> Map<String, Value> {
    let named = [
        (
            "requests_per_minute",
            terms.requests_per_minute.map(Value::from),
        ),
        ("requests_per_day", terms.requests_per_day.map(Value::from)),
        ("bytes_per_day", terms.bytes_per_day.map(Value::from)),
    ];
    named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}
