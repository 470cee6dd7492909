//! `keyferry password change`.

use hyper::Method;
use serde_json::json;

use crate::app::App;
use crate::error::CliError;
use crate::output::Reply;
use crate::secret_input::{PasswordSource, password, secrets};

/// Replaces the caller's password.
pub(crate) async fn change_password(app: &App, source: PasswordSource) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    let [current, new] = match source {
        PasswordSource::Stdin => secrets(["", ""], source)?,
        _ => {
            let [current] = secrets(["Present password: "], source)?;
            [current, password(PasswordSource::PromptTwice)?]
        }
    };
    let body = json!({ "current_password": current.as_str(), "new_password": new.as_str() });
    caller
        .send_json(Method::POST, "/auth/password/change", &body)
        .await?;
    Ok(Reply::new(
        "the password is changed, and all other sessions have ended",
        json!({ "changed": true }),
    ))
}
