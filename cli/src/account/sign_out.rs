//! `keyferry logout`.

use hyper::Method;
use serde_json::json;

use crate::app::App;
use crate::arguments::Logout;
use crate::error::CliError;
use crate::output::Reply;

/// Ends the session on the server, or all of them, then forgets it here.
pub(crate) async fn sign_out(app: &App, wanted: &Logout) -> Result<Reply, CliError> {
    let path = if wanted.everywhere {
        "/auth/logout-all"
    } else {
        "/auth/logout"
    };
    match end_on_server(app, path).await {
        // A session that had ended already is only forgotten; the others are out of its reach.
        Err(CliError::SessionEnded) if !wanted.everywhere => {}
        other => other?,
    }
    app.session_file.remove()?;
    Ok(Reply::new("signed out", json!({ "signed_out": true })))
}

async fn end_on_server(app: &App, path: &str) -> Result<(), CliError> {
    let caller = app.signed_in().await?;
    caller.ask(Method::POST, path).await.map(drop)
}
