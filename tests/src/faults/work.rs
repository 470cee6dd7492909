//! People who go on working while something breaks, and what they were told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};
use keyferry_cli::rest::{Ask, Rest};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::{PASSWORD, Server, until};

/// What the server has said last about each key.
pub(super) type Told = BTreeMap<String, &'static str>;

/// What was not done, by the status of the answer.
pub(super) type Refused = BTreeMap<String, usize>;

/// Somebody who stores keys and revokes every third of them, one after the other.
pub(super) struct Work {
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    working: JoinHandle<(Told, Refused)>,
}

impl Work {
    /// With this pause between one key and the next.
    pub(super) async fn begin(server: &Server, pause: Duration) -> Self {
        let rest = server.rest();
        let acknowledged = Arc::default();
        let worker = Worker {
            bearer: sign_in(&rest).await,
            rest,
            pause,
            acknowledged: Arc::clone(&acknowledged),
            told: Told::new(),
            refused: Refused::new(),
        };
        let over = Arc::new(AtomicBool::new(false));
        let working = tokio::spawn(worker.work(Arc::clone(&over)));
        Self {
            over,
            acknowledged,
            working,
        }
    }

    /// Waits until so many more changes are acknowledged.
    pub(super) async fn until_acknowledged(&self, more: usize) {
        let before = self.acknowledged.load(Ordering::Relaxed);
        until("changes are made", async || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            (now >= before + more).then_some(())
        })
        .await;
    }

    pub(super) async fn end(self) -> (Told, Refused) {
        self.over.store(true, Ordering::Relaxed);
        self.working.await.unwrap()
    }
}

struct Worker {
    rest: Rest,
    bearer: SecretString,
    pause: Duration,
    acknowledged: Arc<AtomicUsize>,
    told: Told,
    refused: Refused,
}

impl Worker {
    async fn work(mut self, over: Arc<AtomicBool>) -> (Told, Refused) {
        for number in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("key-{number}");
            let made = put(&self.rest, &self.bearer, &name).await;
            if self.note(made, StatusCode::CREATED).await {
                self.told.insert(name.clone(), "active");
                self.acknowledged.fetch_add(1, Ordering::Relaxed);
                if number % 3 == 0 {
                    self.revoke(name).await;
                }
            }
            sleep(self.pause).await;
        }
        (self.told, self.refused)
    }

    async fn revoke(&mut self, name: String) {
        let path = format!("/keys/{name}/revoke");
        let revoke = Ask::new(Method::POST, &path).signed_in(&self.bearer);
        let answer = ask(&self.rest, revoke).await;
        if self
            .note(answer.map(|(status, _)| status), StatusCode::OK)
            .await
        {
            self.told.insert(name, "revoked");
        } else {
            // It may have been revoked, and nobody was told so.
            self.told.remove(&name);
        }
    }

    /// Whether it was done. Whose token is refused signs in again, if that goes.
    async fn note(&mut self, answer: Option<StatusCode>, wanted: StatusCode) -> bool {
        if answer == Some(wanted) {
            return true;
        }
        let status = answer.map_or("no answer".to_owned(), |status| status.as_u16().to_string());
        *self.refused.entry(status).or_default() += 1;
        if answer == Some(StatusCode::UNAUTHORIZED)
            && let Some(bearer) = try_sign_in(&self.rest).await
        {
            self.bearer = bearer;
        }
        false
    }
}

pub(super) async fn sign_in(rest: &Rest) -> SecretString {
    until("somebody can sign in", async || try_sign_in(rest).await).await
}

async fn try_sign_in(rest: &Rest) -> Option<SecretString> {
    let login = json!({ "username": "ada", "password": PASSWORD }).to_string();
    let login = Ask::new(Method::POST, "/auth/login").json(login.into());
    let (_, body) = ask(rest, login).await?;
    Some(body["access_token"].as_str()?.to_owned().into())
}

async fn put(rest: &Rest, bearer: &SecretString, name: &str) -> Option<StatusCode> {
    let key = json!({ "provider": "custom", "value": format!("value of {name}") }).to_string();
    let path = format!("/keys/{name}");
    let put = Ask::new(Method::PUT, &path)
        .signed_in(bearer)
        .json(key.into());
    Some(ask(rest, put).await?.0)
}

/// What was answered, if anything was.
pub(super) async fn ask(rest: &Rest, ask: Ask<'_>) -> Option<(StatusCode, Value)> {
    let answer = timeout(Duration::from_secs(60), rest.exchange(ask)).await;
    let answer = answer.ok()?.ok()?;
    Some((answer.status, answer.body))
}
