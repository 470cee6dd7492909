//! `keyferry roles`.

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::Roles;
use crate::error::CliError;
use crate::output::{Reply, cell, table, words};
use crate::rest::segment;
use crate::rest_list::all_items;
use crate::session::SignedIn;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Roles) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Roles::List => list(&caller).await,
        Roles::Put { name, permissions } => {
            let body = json!({ "permissions": permissions });
            let path = format!("/roles/{}", segment(&name));
            let role = caller.send_json(Method::PUT, &path, &body).await?;
            let human = format!("{name} permits {}", words(&role, "permissions"));
            Ok(Reply::new(human, role))
        }
        Roles::Delete { name } => {
            let path = format!("/roles/{}", segment(&name));
            caller.ask(Method::DELETE, &path).await?;
            Ok(Reply::new("deleted", json!({ "deleted": true })))
        }
    }
}

async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/roles").await?;
    let row = |role: &Value| {
        let whose = match role.get("built_in") {
            Some(Value::Bool(true)) => "everyone's",
            _ => "own",
        };
        [cell(role, "name"), whose.into(), words(role, "permissions")]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let human = table(["ROLE", "WHOSE", "PERMITS"], &rows);
    Ok(Reply::new(human, json!({ "items": items })))
}
