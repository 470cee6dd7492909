//! `keyferry invitations`.

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::Invitations;
use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::{Kind, all_items, find_item};
use crate::secret_input::token;
use crate::session::SignedIn;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Invitations) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Invitations::List => list(&caller).await,
        Invitations::Add { email, role } => {
            let body = json!({ "email": email, "role": role });
            let made = caller
                .send_json(Method::POST, "/invitations", &body)
                .await?;
            let until = time_cell(&made, "expires_at");
            let human = format!("a mail is on its way to {email}; it counts until {until}");
            Ok(Reply::new(human, made))
        }
        Invitations::Withdraw { invitation } => {
            let found = find_item(&caller, &INVITATION, &invitation).await?;
            let path = format!("/invitations/{}", cell(&found, "id"));
            caller.ask(Method::DELETE, &path).await?;
            Ok(Reply::new("withdrawn", json!({ "withdrawn": true })))
        }
        Invitations::Accept => {
            let body = json!({ "token": token("Token of the mail: ")?.as_str() });
            let path = "/invitations/accept";
            let tenant = caller.send_json(Method::POST, path, &body).await?;
            let name = cell(&tenant, "name");
            let role = cell(&tenant, "role");
            let human = format!("you are {role} of {name}; `keyferry tenants enter` works in it");
            Ok(Reply::new(human, tenant))
        }
    }
}

async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/invitations").await?;
    let row = |invitation: &Value| {
        [
            cell(invitation, "email"),
            cell(invitation, "role"),
            time_cell(invitation, "expires_at"),
            cell(invitation, "id"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let human = if rows.is_empty() {
        "no open invitations; `keyferry invitations add EMAIL` makes one".into()
    } else {
        table(["E-MAIL", "ROLE", "UNTIL", "ID"], &rows)
    };
    Ok(Reply::new(human, json!({ "items": items })))
}

const INVITATION: Kind = Kind {
    path: "/invitations",
    names: &["email"],
    called: "invitation",
    listed_by: "invitations list",
};
