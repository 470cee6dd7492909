//! `keyferry plans`.

use serde_json::{Value, json};

use crate::app::App;
use crate::error::CliError;
use crate::output::{Reply, cell, table, words};
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Lists the plans that tenants can be on.
pub(crate) async fn plans(app: &App) -> Result<Reply, CliError> {
    list_plans(&app.signed_in().await?).await
}

/// The same for somebody signed in.
pub(crate) async fn list_plans(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/plans").await?;
    let row = |plan: &Value| {
        [
            cell(plan, "name"),
            cell(plan, "requests_per_minute"),
            cell(plan, "vms"),
            cell(plan, "storage_gb"),
            words(plan, "features"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = ["PLAN", "REQUESTS/MINUTE", "MACHINES", "GB", "FEATURES"];
    let human = format!("{}A dash is no limit.", table(headings, &rows));
    Ok(Reply::new(human, json!({ "items": items })))
}
