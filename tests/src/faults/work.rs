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

/// What else lets somebody in, by the way: sessions and API keys.
pub(super) struct Ways {
    /// Those that the server said were over.
    pub(super) over: Vec<SecretString>,
    /// Those that nobody has ended.
    pub(super) open: Vec<Way>,
}

/// One of them, and how it is ended.
pub(super) struct Way {
    pub(super) bearer: SecretString,
    /// Where an API key is removed; a session ends itself.
    api_key: Option<String>,
}

/// Somebody who stores keys and revokes every third of them, one after the other, and with it a
/// session or an API key.
pub(super) struct Work {
    over: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    working: JoinHandle<(Told, Refused, Ways)>,
}

impl Work {
    /// With this pause between one key and the next.
    pub(super) async fn begin(server: &Server, pause: Duration) -> Self {
        let rest = server.rest();
        let acknowledged = Arc::default();
        let bearer = sign_in(&rest).await;
        let worker = Worker {
            ways: open_ways(&rest, &bearer).await,
            bearer,
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

    pub(super) async fn end(self) -> (Told, Refused, Ways) {
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
    ways: Ways,
}

impl Worker {
    async fn work(mut self, over: Arc<AtomicBool>) -> (Told, Refused, Ways) {
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
                    self.close_a_way().await;
                }
            }
            sleep(self.pause).await;
        }
        (self.told, self.refused, self.ways)
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

    /// One that may have been ended, and nobody was told so, is neither open nor over.
    async fn close_a_way(&mut self) {
        if self.ways.open.len() <= SPARED {
            return;
        }
        let way = self.ways.open.remove(0);
        let closed = match &way.api_key {
            Some(path) => Ask::new(Method::DELETE, path).signed_in(&self.bearer),
            None => Ask::new(Method::POST, "/auth/logout").signed_in(&way.bearer),
        };
        let answer = ask(&self.rest, closed).await.map(|(status, _)| status);
        if self.note(answer, StatusCode::NO_CONTENT).await {
            self.ways.over.push(way.bearer);
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

/// Sessions and API keys in turn.
async fn open_ways(rest: &Rest, bearer: &SecretString) -> Ways {
    let mut open = Vec::new();
    for number in 0..WAYS {
        open.push(Way {
            bearer: sign_in(rest).await,
            api_key: None,
        });
        let body = json!({ "name": format!("tool-{number}") }).to_string();
        let made = Ask::new(Method::POST, "/auth/api-keys").signed_in(bearer);
        let (status, made) = ask(rest, made.json(body.into())).await.unwrap();
        assert_eq!(status, StatusCode::CREATED, "{made}");
        open.push(Way {
            bearer: made["key"].as_str().unwrap().to_owned().into(),
            api_key: Some(format!("/auth/api-keys/{}", made["id"].as_str().unwrap())),
        });
    }
    Ways {
        over: Vec::new(),
        open,
    }
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

/// So many sessions, and as many API keys.
const WAYS: usize = 6;
/// So many of them stay, as a control.
const SPARED: usize = 2;
