//! `keyferry login`.

use std::io::{self, BufRead, IsTerminal, Write};

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::contact::trusted_server;
use super::provider::sign_in_by;
use crate::app::App;
use crate::arguments::Login;
use crate::error::CliError;
use crate::output::Reply;
use crate::rest::{Ask, Rest, RestError};
use crate::secret_input::{self, Password, PasswordSource, password, secrets};
use crate::session::{Session, send};

/// Exchanges a password, or a provider's word, for a session, and stores it.
pub(crate) async fn sign_in(app: &App, arguments: Login) -> Result<Reply, CliError> {
    let rest = trusted_server(app, arguments.contact).await?;
    if let Some(provider) = &arguments.provider {
        let answer = sign_in_by(&rest, provider).await?;
        return complete(app, &rest, (answer, None)).await;
    }
    let name = arguments.username.map_or_else(ask_name, Ok)?;
    let (password, code) = if arguments.password_stdin {
        let [password, code] = secrets(["", ""], PasswordSource::Stdin)?;
        (password, Some(code).filter(|code| !code.is_empty()))
    } else {
        (password(PasswordSource::Prompt)?, None)
    };
    let member = if name.contains('@') {
        "email"
    } else {
        "username"
    };
    let body = json!({ member: name, "password": password.as_str() }).to_string();
    let ask = Ask::new(Method::POST, "/auth/login").json(Bytes::from(body));
    let answer = send(&rest, ask).await?;
    complete(app, &rest, (answer, code)).await
}

/// Takes the second step where one is owed.
async fn complete(
    app: &App,
    rest: &Rest,
    (mut answer, code): (Value, Option<Password>),
) -> Result<Reply, CliError> {
    if let Some(owed) = answer.get("mfa_token").and_then(Value::as_str) {
        let code = code.map_or_else(secret_input::code, Ok)?;
        let body = json!({ "mfa_token": owed, "code": code.as_str() }).to_string();
        let ask = Ask::new(Method::POST, "/auth/mfa/verify").json(Bytes::from(body));
        answer = send(rest, ask).await?;
    }
    store(app, rest, &answer)
}

/// Stores the session that an answer holds.
pub(super) fn store(app: &App, rest: &Rest, answer: &Value) -> Result<Reply, CliError> {
    let session =
        Session::from_answer(rest, answer, app.now).ok_or_else(|| CliError::Unreachable {
            server: rest.address().clone(),
            source: RestError::Answer,
        })?;
    app.session_file.write(&session)?;
    let (server, user) = (session.server.to_string(), &session.user);
    let owed = answer.get("second_factor_owed") == Some(&Value::Bool(true));
    let json = json!({
        "server": server, "user": user, "user_id": session.user_id, "second_factor_owed": owed
    });
    let mut human = format!("signed in to {server} as {user}");
    if owed {
        human.push_str("\nThis team demands a second factor: run `keyferry mfa start`.");
    }
    Ok(Reply::new(human, json))
}

fn ask_name() -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::NoTerminal("--username"));
    }
    let mut terminal = io::stderr();
    write!(terminal, "User name or e-mail: ").map_err(CliError::Output)?;
    terminal.flush().map_err(CliError::Output)?;
    let mut name = String::new();
    io::stdin()
        .lock()
        .read_line(&mut name)
        .map_err(CliError::Input)?;
    Ok(name.trim().to_owned())
}
