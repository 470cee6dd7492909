//! `keyferry logout`.

use hyper::Method;
use serde_json::json;

use crate::app::App;
use crate::error::CliError;
use crate::output::Reply;

/// Ends the session on the server, then forgets it here.
pub(crate) async fn sign_out(app: &App) -> Result<Reply, CliError> {
    match end_on_server(app).await {
        // A session that had ended already is only forgotten.
        Ok(()) | Err(CliError::SessionEnded) => {}
        Err(error) => return Err(error),
    }
    app.session_file.remove()?;
    Ok(Reply::new("signed out", json!({ "signed_out": true })))
}

async fn end_on_server(app: &App) -> Result<(), CliError> {
    app.signed_in()
        .await?
        .ask(Method::POST, "/auth/logout")
        .await
        .map(|_| ())
}
