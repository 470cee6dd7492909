//! `keyferry devices`: from where one has signed in.

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::Devices;
use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Devices) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Devices::List => list(&caller).await,
        Devices::Forget { id } => {
            let path = format!("/auth/devices/{id}");
            caller.ask(Method::DELETE, &path).await?;
            Ok(Reply::new("forgotten", json!({ "forgotten": id })))
        }
    }
}

async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/auth/devices").await?;
    let row = |device: &Value| {
        [
            cell(device, "id"),
            cell(device, "network"),
            time_cell(device, "first_seen_at"),
            time_cell(device, "last_seen_at"),
            cell(device, "user_agent"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = ["ID", "NETWORK", "FIRST SEEN", "LAST SEEN", "PROGRAM"];
    Ok(Reply::new(
        table(headings, &rows),
        json!({ "items": items }),
    ))
}
