//! `keyferry tenants`.

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::{MfaDemand, Tenants};
use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::{Kind, all_items, find_item};
use crate::session::SignedIn;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Tenants) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Tenants::List => list(&caller).await,
        Tenants::Show => {
            let tenant = caller.ask(Method::GET, "/tenants/current").await?;
            Ok(Reply::new(described(&tenant), tenant))
        }
        Tenants::Add { name } => {
            let body = json!({ "name": name });
            let tenant = caller.send_json(Method::POST, "/tenants", &body).await?;
            let human = format!(
                "{}\n`keyferry tenants enter` works in it",
                described(&tenant)
            );
            Ok(Reply::new(human, tenant))
        }
        Tenants::Rename { name } => change(&caller, &json!({ "name": name })).await,
        Tenants::Mfa { demand } => {
            let required = demand == MfaDemand::Required;
            change(&caller, &json!({ "mfa_required": required })).await
        }
        Tenants::Enter { tenant } => enter(app, &caller, &tenant).await,
        Tenants::Leave => {
            caller.ask(Method::POST, "/tenants/current/leave").await?;
            let human = "left; `keyferry login` signs in to another tenant of yours";
            Ok(Reply::new(human, json!({ "left": true })))
        }
    }
}

async fn change(caller: &SignedIn, body: &Value) -> Result<Reply, CliError> {
    let path = "/tenants/current";
    let tenant = caller.send_json(Method::PATCH, path, body).await?;
    Ok(Reply::new(described(&tenant), tenant))
}

async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/tenants").await?;
    let row = |tenant: &Value| {
        [
            cell(tenant, "name"),
            cell(tenant, "role"),
            cell(tenant, "plan"),
            time_cell(tenant, "created_at"),
            cell(tenant, "id"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let human = table(["NAME", "ROLE", "PLAN", "CREATED", "ID"], &rows);
    Ok(Reply::new(human, json!({ "items": items })))
}

/// The session of the new tenant takes the place of the present one, which then ends.
async fn enter(app: &App, caller: &SignedIn, wanted: &str) -> Result<Reply, CliError> {
    let tenant = find_item(caller, &TENANT, wanted).await?;
    let path = format!("/tenants/{}/enter", cell(&tenant, "id"));
    let tokens = caller.ask(Method::POST, &path).await?;
    let session = caller.entered(&tokens, app.now)?;
    app.session_file.write(&session)?;
    caller.ask(Method::POST, "/auth/logout").await?;
    let human = format!("you work in {} now", cell(&tenant, "name"));
    Ok(Reply::new(human, tenant))
}

fn described(tenant: &Value) -> String {
    let demand = match tenant.get("mfa_required") {
        Some(Value::Bool(true)) => ", members need a second factor",
        _ => "",
    };
    format!(
        "{} ({}), you are its {}, on the plan {}{demand}",
        cell(tenant, "name"),
        cell(tenant, "id"),
        cell(tenant, "role"),
        cell(tenant, "plan")
    )
}

const TENANT: Kind = Kind {
    path: "/tenants",
    names: &["name"],
    called: "tenant",
    listed_by: "tenants list",
};
