//! `keyferry members`.

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::Members;
use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::{Kind, all_items, find_item};
use crate::session::SignedIn;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Members) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Members::List => list(&caller).await,
        Members::SetRole { member, role } => {
            let path = path_of(&caller, &member).await?;
            let body = json!({ "role": role });
            let changed = caller.send_json(Method::PATCH, &path, &body).await?;
            let human = format!("{member} is {} now", cell(&changed, "role"));
            Ok(Reply::new(human, changed))
        }
        Members::Remove { member } => {
            let path = path_of(&caller, &member).await?;
            caller.ask(Method::DELETE, &path).await?;
            Ok(Reply::new("removed", json!({ "removed": true })))
        }
    }
}

async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, "/members").await?;
    let row = |member: &Value| {
        [
            cell(member, "username"),
            cell(member, "email"),
            cell(member, "full_name"),
            cell(member, "role"),
            time_cell(member, "joined_at"),
            cell(member, "id"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let headings = ["USERNAME", "E-MAIL", "NAME", "ROLE", "JOINED", "ID"];
    Ok(Reply::new(
        table(headings, &rows),
        json!({ "items": items }),
    ))
}

async fn path_of(caller: &SignedIn, member: &str) -> Result<String, CliError> {
    let member = find_item(caller, &MEMBER, member).await?;
    Ok(format!("/members/{}", cell(&member, "id")))
}

const MEMBER: Kind = Kind {
    path: "/members",
    names: &["username", "email"],
    called: "member",
    listed_by: "members list",
};
