//! `keyferry identities`: the accounts at providers that sign the caller in.

use hyper::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::arguments::Identities;
use crate::error::CliError;
use crate::output::{Reply, cell, table, time_cell};
use crate::rest_list::{Kind, all_items, find_item};
use crate::session::SignedIn;

/// Runs one of the commands.
pub(crate) async fn run(app: &App, command: Identities) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    match command {
        Identities::List => list(&caller).await,
        Identities::Unlink { identity } => {
            let found = find_item(&caller, &IDENTITY, &identity).await?;
            let path = format!("{}/{}", IDENTITY.path, cell(&found, "id"));
            caller.ask(Method::DELETE, &path).await?;
            let human = format!("{} signs you in no more", cell(&found, "provider"));
            Ok(Reply::new(human, json!({ "unlinked": true })))
        }
    }
}

async fn list(caller: &SignedIn) -> Result<Reply, CliError> {
    let items = all_items(caller, IDENTITY.path).await?;
    let row = |identity: &Value| {
        [
            cell(identity, "provider"),
            cell(identity, "issuer"),
            time_cell(identity, "created_at"),
            time_cell(identity, "last_used_at"),
            cell(identity, "id"),
        ]
    };
    let rows: Vec<_> = items.iter().map(row).collect();
    let human = if rows.is_empty() {
        "no provider signs you in; `keyferry login --provider NAME` links one".into()
    } else {
        table(["PROVIDER", "ISSUER", "LINKED", "LAST USED", "ID"], &rows)
    };
    Ok(Reply::new(human, json!({ "items": items })))
}

const IDENTITY: Kind = Kind {
    path: "/auth/identities",
    names: &["provider"],
    called: "identity",
    listed_by: "identities list",
};
