//! `keyferry account show` and `export`.

use hyper::Method;
use serde_json::Value;

use crate::app::App;
use crate::error::CliError;
use crate::output::{Reply, cell, time_cell};

/// Shows the caller's account.
pub(crate) async fn show(app: &App) -> Result<Reply, CliError> {
    let me = app.signed_in().await?.ask(Method::GET, "/auth/me").await?;
    let tenant = me
        .get("tenant")
        .map_or_else(String::new, |it| cell(it, "name"));
    let list = |member| {
        let items = me.get(member).and_then(Value::as_array);
        let items = items.into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(" ")
    };
    let human = format!(
        "{} <{}>\n  tenant: {tenant}\n  roles: {}\n  permissions: {}\n  since: {}",
        cell(&me, "username"),
        cell(&me, "email"),
        list("roles"),
        list("permissions"),
        time_cell(&me, "created_at"),
    );
    Ok(Reply::new(human, me))
}

/// Prints everything that the server knows of the caller.
pub(crate) async fn export(app: &App) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    let export = caller.ask(Method::GET, "/auth/me/export").await?;
    Ok(Reply::new(format!("{export:#}"), export))
}
