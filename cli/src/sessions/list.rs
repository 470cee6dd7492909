//! `keyferry sessions list`.

use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Lists where one is signed in.
pub(crate) async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/auth/sessions").await?;
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = ["ID", "THIS ONE", "ADDRESS", "LAST SEEN", "PROGRAM"];
    Ok(Reply::new(
        table(headings, &rows),
        json!({ "items": items }),
    ))
}

fn row(session: &Value) -> [String; 5] {
    let current = session.get("current") == Some(&Value::Bool(true));
    [
        cell(session, "id"),
        if current { "yes" } else { "" }.into(),
        cell(session, "address"),
        time_cell(session, "last_seen_at"),
        cell(session, "user_agent"),
    ]
}
