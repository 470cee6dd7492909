//! `keyferry keys list`.

use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Lists all keys.
pub(crate) async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/keys").await?;
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = [
        "NAME", "PROVIDER", "VERSION", "STATUS", "DELIVERY", "LAST 4", "CREATED",
    ];
    let human = if rows.is_empty() {
        EMPTY.into()
    } else {
        table(headings, &rows)
    };
    Ok(Reply::new(human, json!({ "items": items })))
}

fn row(key: &Value) -> [String; 7] {
    let delivery = key
        .get("policy")
        .map_or_else(|| "-".into(), |it| cell(it, "delivery"));
    [
        cell(key, "name"),
        cell(key, "provider"),
        cell(key, "version"),
        cell(key, "status"),
        delivery,
        cell(key, "last4"),
        time_cell(key, "created_at"),
    ]
}

const EMPTY: &str = "no keys yet; `keyferry keys put NAME` stores one";
