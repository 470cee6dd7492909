//! From a login to a ticket: what `keyferry login`, `vms add` and `vms ticket` do, in one go.

use hyper::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::Error;
use crate::link::{Answer, Ask, Endpoint};

/// Who lets a program in that has no ticket.
pub enum Login<'a> {
    /// A person, who is signed in for as long as it takes to make a ticket.
    Person {
        /// The name.
        username: &'a str,
        /// The password.
        password: &'a SecretString,
        /// Of the authenticator app, where the account has one.
        mfa_code: Option<&'a str>,
    },
    /// A service API key (`kf_...`) with the permissions `vm:read`, `vm:enroll` and, where the
    /// machine is to be added, `vm:write`.
    ApiKey(&'a SecretString),
}

#[derive(Serialize)]
struct SignIn<'a> {
    username: &'a str,
    password: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mfa_code: Option<&'a str>,
}

/// Makes a ticket for the machine of this name, which is added if it is not there.
pub(super) async fn ticket(
    server: &Endpoint,
    login: &Login<'_>,
    vm: &str,
) -> Result<SecretString, Error> {
    match login {
        Login::ApiKey(key) => ticket_by(server, key, vm).await,
        Login::Person {
            username,
            password,
            mfa_code,
        } => {
            let sign_in = SignIn {
                username,
                password: password.expose_secret(),
                mfa_code: *mfa_code,
            };
            let token = token(server, &sign_in).await?;
            let ticket = ticket_by(server, &token, vm).await;
            // A session that cannot be ended now ends by itself.
            let _as_well_as_can_be = server.ask(Ask::post("/auth/logout").by(&token)).await;
            ticket
        }
    }
}

async fn token(server: &Endpoint, sign_in: &SignIn<'_>) -> Result<SecretString, Error> {
    // Never moved as it grows: no part of the password stays behind.
    let mut body = Zeroizing::new(Vec::with_capacity(LONGEST_SIGN_IN));
    serde_json::to_writer(&mut *body, sign_in).expect("three texts can be written down");
    let answer = server.ask(Ask::post("/auth/login").secret(body)).await?;
    let answer = accepted(answer)?;
    if answer
        .body
        .get("mfa_required")
        .is_some_and(|owed| *owed == true)
    {
        return Err(Error::SecondFactor);
    }
    secret(&answer, "access_token")
}

async fn ticket_by(
    server: &Endpoint,
    token: &SecretString,
    vm: &str,
) -> Result<SecretString, Error> {
    let id = machine(server, token, vm).await?;
    let path = format!("/vms/{id}/ticket");
    let answer = server
        .ask(Ask::post(&path).by(token).json(&json!({})))
        .await?;
    secret(&accepted(answer)?, "ticket")
}

/// The id of the machine of this name.
async fn machine(server: &Endpoint, token: &SecretString, vm: &str) -> Result<String, Error> {
    let mut path = FIRST_PAGE.to_owned();
    loop {
        let list = Ask::new(Method::GET, &path).by(token);
        let page = accepted(server.ask(list).await?)?.body;
        let items = page.get("items").and_then(Value::as_array);
        let called = |item: &&Value| item.get("name").is_some_and(|name| name == vm);
        if let Some(found) = items.and_then(|items| items.iter().find(called)) {
            return id_of(found);
        }
        let Some(next) = page.get("next_cursor").and_then(Value::as_str) else {
            break;
        };
        path = format!("{FIRST_PAGE}&cursor={next}");
    }
    let add = Ask::post("/vms").by(token).json(&json!({ "name": vm }));
    id_of(&accepted(server.ask(add).await?)?.body)
}

fn id_of(vm: &Value) -> Result<String, Error> {
    let id = vm.get("id").and_then(Value::as_str);
    id.map(str::to_owned).ok_or(Error::Protocol(None))
}

fn accepted(answer: Answer) -> Result<Answer, Error> {
    if answer.is_success() {
        return Ok(answer);
    }
    Err(Error::Login {
        code: answer.code().to_owned(),
        detail: answer
            .text("detail")
            .unwrap_or("no reason was given")
            .to_owned(),
    })
}

fn secret(answer: &Answer, member: &str) -> Result<SecretString, Error> {
    answer
        .text(member)
        .map(SecretString::from)
        .ok_or(Error::Protocol(None))
}

const FIRST_PAGE: &str = "/vms?limit=100";
/// A name of 100 bytes and a password of 72, each byte six at the most.
const LONGEST_SIGN_IN: usize = 2048;
