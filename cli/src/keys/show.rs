//! `keyferry keys show`.

use hyper::Method;
use keyferry_protocol::ids::KeyName;
use serde_json::{Value, json};

use super::{one_line, path};
use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Shows a key, its policy and its versions.
pub(crate) async fn show(caller: &SignedIn, name: &KeyName) -> Result<Reply, CliError> {
    let key = caller.ask(Method::GET, &path(name)).await?;
    let versions = all_items(caller, &format!("{}/versions", path(name))).await?;
    let rows: Vec<_> = versions.iter().map(row).collect();
    let headings = ["VERSION", "CREATED", "RETIRES", "DESTROYED", "FINGERPRINT"];
    let policy = key.get("policy").map_or_else(String::new, policy);
    let human = format!("{}\n{policy}\n{}", one_line(&key), table(headings, &rows));
    Ok(Reply::new(
        human,
        json!({ "key": key, "versions": versions }),
    ))
}

fn policy(policy: &Value) -> String {
    let all = [
        "delivery",
        "vms",
        "allowed_hosts",
        "lease_seconds",
        "expires_at",
        "tools",
        "budget",
    ];
    all.map(|member| format!("  {member}: {}\n", cell(policy, member)))
        .concat()
}

fn row(version: &Value) -> [String; 5] {
    [
        cell(version, "version"),
        time_cell(version, "created_at"),
        time_cell(version, "retire_at"),
        time_cell(version, "destroyed_at"),
        cell(version, "fingerprint"),
    ]
}
