//! `keyferry vms list`.

use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Lists all machines.
pub(crate) async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/vms").await?;
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = [
        "NAME",
        "STATUS",
        "CONNECTED",
        "PROTECTION",
        "LAST SEEN",
        "ID",
    ];
    let human = if rows.is_empty() {
        EMPTY.into()
    } else {
        table(headings, &rows)
    };
    Ok(Reply::new(human, json!({ "items": items })))
}

fn row(vm: &Value) -> [String; 6] {
    [
        cell(vm, "name"),
        cell(vm, "status"),
        cell(vm, "connected"),
        cell(vm, "protection"),
        time_cell(vm, "last_seen_at"),
        cell(vm, "id"),
    ]
}

const EMPTY: &str = "no machines yet; `keyferry vms add NAME` adds one";
