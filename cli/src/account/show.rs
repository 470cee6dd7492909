//! `keyferry account show` and `export`.

use hyper::Method;
use serde_json::Value;

use crate::app::App;
use crate::error::CliError;
use crate::output::{Reply, called, cell, time_cell, words};

/// Shows the caller's account.
pub(crate) async fn show(app: &App) -> Result<Reply, CliError> {
    let me = app.signed_in().await?.ask(Method::GET, "/auth/me").await?;
    Ok(Reply::new(described(&me), me))
}

/// An account in words.
pub(super) fn described(me: &Value) -> String {
    let tenant = me
        .get("tenant")
        .map_or_else(String::new, |it| cell(it, "name"));
    format!(
        "{}\n  tenant: {tenant}\n  roles: {}\n  permissions: {}\n  since: {}",
        called(me),
        words(me, "roles"),
        words(me, "permissions"),
        time_cell(me, "created_at"),
    )
}

/// Prints everything that the server knows of the caller.
pub(crate) async fn export(app: &App) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    let export = caller.ask(Method::GET, "/auth/me/export").await?;
    Ok(Reply::new(format!("{export:#}"), export))
}
