//! The person whose keys and machines these are.

use std::sync::{Arc, Mutex};

use hyper::Method;
use keyferry_cli::rest::{Ask, Rest};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{PASSWORD, Secret, Server, Stage};

/// Signed in, at one server or another.
pub struct Owner {
    rest: Mutex<Arc<Rest>>,
    bearer: SecretString,
}

impl Owner {
    /// An account whose plan has no limits.
    pub async fn register(stage: &Stage, server: &Server, name: &str) -> Self {
        let account = account(name);
        let made = send(
            &server.rest(),
            (Method::POST, "/auth/register"),
            None,
            account,
        )
        .await;
        let mut plan = server.run_beside(stage, "plan", |command| {
            command.args(["admin", "plan", name, "enterprise"]);
        });
        assert!(plan.wait().success(), "{}", plan.log());
        Self {
            rest: Mutex::new(Arc::new(server.rest())),
            bearer: made["access_token"].as_str().unwrap().into(),
        }
    }

    /// From now on at this server.
    pub fn go_to(&self, server: &Server) {
        *self.rest.lock().unwrap() = Arc::new(server.rest());
    }

    /// Stores a key.
    pub async fn put(&self, key: &str) {
        let body = json!({ "provider": "openai", "value": Secret::fresh().text() });
        self.ask((Method::PUT, &format!("/keys/{key}")), body).await;
    }

    /// Gives a key a new value, which makes this version.
    pub async fn rotate(&self, key: &str, version: u32) {
        let body = json!({ "value": Secret::fresh().text() });
        let path = format!("/keys/{key}/rotate");
        let rotated = self.ask((Method::POST, &path), body).await;
        assert_eq!(rotated["version"], version, "{rotated}");
    }

    /// A ticket for a new machine.
    pub async fn ticket(&self, vm: &str) -> String {
        let made = self
            .ask((Method::POST, "/vms"), json!({ "name": vm }))
            .await;
        let path = format!("/vms/{}/ticket", made["id"].as_str().unwrap());
        let issued = self.ask((Method::POST, &path), json!({})).await;
        issued["ticket"].as_str().unwrap().to_owned()
    }

    /// Sends a request that needs a signed-in caller.
    pub async fn look_at_self(&self) {
        self.ask((Method::GET, "/auth/me"), Value::Null).await;
    }

    /// So many people register, and then all sign in and look at themselves at the same time.
    pub async fn users_at_once(&self, server: &Server, count: usize) {
        for number in 0..count {
            let account = account(&format!("user-{number}"));
            send(
                &server.rest(),
                (Method::POST, "/auth/register"),
                None,
                account,
            )
            .await;
        }
        let mut people = JoinSet::new();
        for number in 0..count {
            let rest = server.rest();
            people.spawn(async move {
                let account = account(&format!("user-{number}"));
                let session = send(&rest, (Method::POST, "/auth/login"), None, account).await;
                let bearer = session["access_token"].as_str().unwrap().into();
                for _ in 0..10 {
                    send(&rest, (Method::GET, "/auth/me"), Some(&bearer), Value::Null).await;
                }
            });
        }
        people.join_all().await;
    }

    async fn ask(&self, what: (Method, &str), body: Value) -> Value {
        let rest = Arc::clone(&self.rest.lock().unwrap());
        send(&rest, what, Some(&self.bearer), body).await
    }
}

fn account(name: &str) -> Value {
    json!({ "username": name, "password": PASSWORD })
}

/// Asks until the server is not too busy, and expects success.
async fn send(
    rest: &Rest,
    (method, path): (Method, &str),
    bearer: Option<&SecretString>,
    body: Value,
) -> Value {
    loop {
        let mut ask = Ask::new(method.clone(), path);
        if let Some(bearer) = bearer {
            ask = ask.signed_in(bearer);
        }
        if !body.is_null() {
            ask = ask.json(body.to_string().into());
        }
        let answer = rest.exchange(ask).await.unwrap();
        if answer.body["code"] == "overloaded" {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            continue;
        }
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
        return answer.body;
    }
}
