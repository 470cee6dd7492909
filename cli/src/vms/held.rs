//! `keyferry vms held`.

use serde_json::{Value, json};

use super::{Vm, find};
use crate::app::App;
use crate::error::CliError;
use crate::events::{self, About, Form};
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Tells what a machine was last told about each version, and what it acknowledged.
pub(crate) async fn held(caller: &SignedIn, vm: &str) -> Result<Reply, CliError> {
    held_by(caller, &find(caller, vm).await?).await
}

/// The same for a machine that was found.
pub(crate) async fn held_by(caller: &SignedIn, vm: &Vm) -> Result<Reply, CliError> {
    let items = all_items(caller, &format!("{}/held", vm.path())).await?;
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = [
        "KEY",
        "VERSION",
        "TOLD",
        "TOLD AT",
        "OUTCOME",
        "ACKNOWLEDGED",
    ];
    let human = if rows.is_empty() {
        format!("{} was given no key", vm.name)
    } else {
        table(headings, &rows)
    };
    Ok(Reply::new(human, json!({ "items": items })))
}

/// The same, and then what changes.
pub(crate) async fn watch_held(
    app: &App,
    caller: &SignedIn,
    (vm, form): (&str, Form),
) -> Result<Reply, CliError> {
    let vm = find(caller, vm).await?;
    events::follow(app, About::Held(vm), form).await
}

fn row(held: &Value) -> [String; 6] {
    [
        cell(held, "key"),
        cell(held, "version"),
        cell(held, "told"),
        time_cell(held, "told_at"),
        cell(held, "outcome"),
        time_cell(held, "acked_at"),
    ]
}
