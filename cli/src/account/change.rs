//! `keyferry account change`.

use hyper::Method;
use serde_json::json;

use super::show::described;
use crate::app::App;
use crate::error::CliError;
use crate::output::Reply;
use crate::secret_input::{PasswordSource, password};

/// New values; what is none stays.
pub(crate) struct Wanted {
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) full_name: Option<String>,
}

/// Changes the caller's names and address.
pub(crate) async fn change(
    app: &App,
    wanted: Wanted,
    source: PasswordSource,
) -> Result<Reply, CliError> {
    let caller = app.signed_in().await?;
    let password = wanted.email.as_ref().map(|_| password(source));
    let password = password.transpose()?;
    let body = json!({
        "username": wanted.username,
        "email": wanted.email,
        "full_name": wanted.full_name,
        "current_password": password.as_ref().map(|password| password.as_str()),
    });
    let me = caller.send_json(Method::PATCH, "/auth/me", &body).await?;
    Ok(Reply::new(described(&me), me))
}
