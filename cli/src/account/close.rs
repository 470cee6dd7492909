//! `keyferry account close`.

use hyper::Method;
use serde_json::json;

use crate::app::App;
use crate::error::CliError;
use crate::output::Reply;
use crate::secret_input::{PasswordSource, secrets};

/// Closes the caller's account, and forgets the session.
pub(crate) async fn close(app: &App, source: PasswordSource) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    let prompts = ["Password, to close the account: ", "Code (empty if none): "];
    let [password, code] = secrets(prompts, source)?;
    let code = Some(code.as_str()).filter(|code| !code.is_empty());
    let body = json!({ "current_password": password.as_str(), "code": code });
    caller.send_json(Method::DELETE, "/auth/me", &body).await?;
    app.session_file.remove()?;
    Ok(Reply::new(
        "the account is closed",
        json!({ "closed": true }),
    ))
}
