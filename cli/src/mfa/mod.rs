//! `keyferry mfa`: the second factor of the caller's logins.

use hyper::Method;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Reply, cell};
use crate::secret_input::{code, token};
use crate::session::SignedIn;

/// Tells which second factors the caller has.
pub(crate) async fn status(caller: &SignedIn) -> Result<Reply, CliError> {
    let mfa = caller.ask(Method::GET, "/auth/mfa").await?;
    let app = if mfa.get("totp") == Some(&Value::Bool(true)) {
        "an authenticator app"
    } else {
        "none"
    };
    let left = cell(&mfa, "recovery_codes_left");
    Ok(Reply::new(format!("{app}, {left} recovery codes"), mfa))
}

/// Makes a secret for an authenticator app, for who knows the password.
pub(crate) async fn start(caller: &SignedIn) -> Result<Reply, CliError> {
    let body = json!({ "current_password": token("Present password: ")?.as_str() });
    let path = "/auth/mfa/totp/start";
    let new = caller.send_json(Method::POST, path, &body).await?;
    let human = format!(
        "secret: {}\n{}\nFeed it to your authenticator app, then run `keyferry mfa confirm`.",
        cell(&new, "secret"),
        cell(&new, "otpauth_url"),
    );
    Ok(Reply::new(human, new))
}

/// Proves that the app has the secret.
pub(crate) async fn confirm(caller: &SignedIn) -> Result<Reply, CliError> {
    codes(caller, "/auth/mfa/totp/confirm").await
}

/// Makes new recovery codes.
pub(crate) async fn renew_recovery_codes(caller: &SignedIn) -> Result<Reply, CliError> {
    codes(caller, "/auth/mfa/recovery-codes").await
}

/// Ends the second factor.
pub(crate) async fn remove(caller: &SignedIn) -> Result<Reply, CliError> {
    let body = json!({ "code": code()?.as_str() });
    let path = "/auth/mfa/totp";
    caller.send_json(Method::DELETE, path, &body).await?;
    Ok(Reply::new("removed", json!({ "removed": true })))
}

async fn codes(caller: &SignedIn, path: &str) -> Result<Reply, CliError> {
    let body = json!({ "code": code()?.as_str() });
    let answer = caller.send_json(Method::POST, path, &body).await?;
    let codes = answer.get("recovery_codes").and_then(Value::as_array);
    let codes = codes.into_iter().flatten().filter_map(Value::as_str);
    let human = format!(
        "Keep these recovery codes on paper; each works once:\n  {}",
        codes.collect::<Vec<_>>().join("\n  ")
    );
    Ok(Reply::new(human, answer))
}
