//! What goes by mail: `keyferry account verify` and `resend`, `keyferry password forgot` and `reset`.
//! Nobody needs to be signed in.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::contact::trusted_server;
use crate::app::App;
use crate::arguments::Contact;
use crate::error::CliError;
use crate::output::{Reply, cell};
use crate::rest::Ask;
use crate::secret_input::{PasswordSource, password, secrets, token};
use crate::session::send;

/// Proves that an address belongs to its account.
pub(crate) async fn verify(app: &App, contact: Contact) -> Result<Reply, CliError> {
    let token = token("Token of the mail: ")?;
    let body = json!({ "token": token.as_str() });
    post(app, contact, ("/auth/email/verify", &body)).await?;
    Ok(Reply::new(
        "the address is verified",
        json!({ "verified": true }),
    ))
}

/// Has the token to verify an address mailed again.
pub(crate) async fn resend(app: &App, contact: Contact, email: &str) -> Result<Reply, CliError> {
    let body = json!({ "email": email });
    let answer = post(app, contact, ("/auth/email/resend", &body)).await?;
    Ok(Reply::new(cell(&answer, "message"), answer))
}

/// Has a token to choose a new password mailed.
pub(crate) async fn forgot(app: &App, contact: Contact, email: &str) -> Result<Reply, CliError> {
    let body = json!({ "email": email });
    let answer = post(app, contact, ("/auth/password/forgot", &body)).await?;
    let human = format!(
        "{} `keyferry password reset` takes its token.",
        cell(&answer, "message")
    );
    Ok(Reply::new(human, answer))
}

/// Chooses a new password by a mailed token.
pub(crate) async fn reset(
    app: &App,
    contact: Contact,
    source: PasswordSource,
) -> Result<Reply, CliError> {
    let [token, new] = match source {
        PasswordSource::Stdin => secrets(["", ""], source)?,
        _ => [
            token("Token of the mail: ")?,
            password(PasswordSource::PromptTwice)?,
        ],
    };
    let body = json!({ "token": token.as_str(), "new_password": new.as_str() });
    post(app, contact, ("/auth/password/reset", &body)).await?;
    let human = "the password is changed, and every session has ended; run `keyferry login`";
    Ok(Reply::new(human, json!({ "changed": true })))
}

async fn post(
    app: &App,
    contact: Contact,
    (path, body): (&'static str, &Value),
) -> Result<Value, CliError> {
    let rest = trusted_server(app, contact).await?;
    let body = Bytes::from(body.to_string());
    send(&rest, Ask::new(Method::POST, path).json(body)).await
}
