//! `keyferry register`.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::contact::trusted_server;
use super::sign_in::store;
use crate::app::App;
use crate::arguments::Register;
use crate::error::CliError;
use crate::output::{Reply, cell};
use crate::rest::{Ask, Rest};
use crate::secret_input::{PasswordSource, password};
use crate::session::send;

/// Makes an account, and stores its first session, if the server lets it in at once.
pub(crate) async fn register(app: &App, arguments: Register) -> Result<Reply, CliError> {
    let rest = trusted_server(app, arguments.contact).await?;
    let source = if arguments.password_stdin {
        PasswordSource::Stdin
    } else {
        PasswordSource::PromptTwice
    };
    let password = password(source)?;
    let mut body = json!({ "password": password.as_str() });
    let optional = [
        ("username", arguments.username),
        ("email", arguments.email),
        ("full_name", arguments.full_name),
        ("tenant_name", arguments.tenant_name),
    ];
    let members = body.as_object_mut().expect("it was made as an object");
    for (member, value) in optional {
        members.extend(value.map(|value| (member.to_owned(), value.into())));
    }
    let ask = Ask::new(Method::POST, "/auth/register").json(Bytes::from(body.to_string()));
    let answer = send(&rest, ask).await?;
    if answer.get("access_token").is_none() {
        return Ok(Reply::new(waiting(&rest, &answer), answer));
    }
    store(app, &rest, &answer)
}

/// What is left to do where the server wants a verified address first.
fn waiting(rest: &Rest, answer: &Value) -> String {
    let contact = rest.as_options();
    format!(
        "the account is made, and a mail with a token is on its way to {}. Give the token to\n  \
         keyferry account verify {contact}\nand then sign in with\n  keyferry login {contact}",
        cell(answer, "email")
    )
}
