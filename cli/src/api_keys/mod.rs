//! `keyferry api-keys`: keys for the caller's own programs.

use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Makes a key and prints it alone, so that it can be piped.
pub(crate) async fn add(
    caller: &SignedIn,
    name: &str,
    expires_in_days: Option<u16>,
    permissions: &[String],
) -> Result<Reply, CliError> {
    let permissions = Some(permissions).filter(|list| !list.is_empty());
    let body = json!({
        "name": name,
        "expires_in_days": expires_in_days,
        "permissions": permissions,
    });
    let path = "/auth/api-keys";
    let added = caller.send_json(Method::POST, path, &body).await?;
    Ok(Reply::new(cell(&added, "key"), added))
}

/// Lists the keys.
pub(crate) async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/auth/api-keys").await?;
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = ["ID", "NAME", "ENDS IN", "CREATED", "EXPIRES", "LAST USED"];
    let human = if rows.is_empty() {
        "no API keys; `keyferry api-keys add NAME` makes one".into()
    } else {
        table(headings, &rows)
    };
    Ok(Reply::new(human, json!({ "items": items })))
}

/// Ends a key.
pub(crate) async fn revoke(caller: &SignedIn, id: Uuid) -> Result<Reply, CliError> {
    let path = format!("/auth/api-keys/{id}");
    caller.ask(Method::DELETE, &path).await?;
    Ok(Reply::new("revoked", json!({ "revoked": true })))
}

fn row(key: &Value) -> [String; 6] {
    [
        cell(key, "id"),
        cell(key, "name"),
        cell(key, "hint"),
        time_cell(key, "created_at"),
        time_cell(key, "expires_at"),
        time_cell(key, "last_used_at"),
    ]
}
