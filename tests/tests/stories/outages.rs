//! Redis and PostgreSQL go away and come back: nothing acknowledged is lost, nothing revoked lives,
//! and nobody has to do anything.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use keyferry_cli::rest::{Answer, Ask, Rest, RestError};
use keyferry_sdk::status::Health;
use keyferry_sdk::{Client, PageState};
use keyferry_tests::{
    Agent, Engine, PASSWORD, PATIENCE, Person, Redis, Replicas, Secret, Server, Stage, promptly,
    until,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_or_paused_is_named_and_missed_by_nobody() {
    let stage = Stage::new(Engine::Postgres).await;
    let mut redis = Redis::start(&stage);
    let server = Server::start_with(&stage, &redis.settings());
    until_cache(&server, "connected").await;
    let session = register(&server).await;
    let bearer = token(&session);

    promptly(Duration::from_secs(3), async |_attempt| {
        redis.resume();
        until_cache(&server, "connected").await;
        redis.pause();
        let asked = Instant::now();
        let wrong = json!({ "username": "eve", "password": PASSWORD });
        let refused = send(&server, (Method::POST, "/auth/login"), None, Some(wrong)).await;
        assert_eq!(refused.unwrap().status, StatusCode::UNAUTHORIZED);
        asked.elapsed()
    })
    .await;
    until_cache(&server, "disconnected").await;
    until("the server serves, and says what it lacks", async || {
        let health = send(&server, (Method::GET, "/health"), None, None).await;
        let health = health.unwrap();
        let degraded =
            (health.status, &health.body["status"]) == (StatusCode::OK, &json!("degraded"));
        (degraded && ready(&server).await == StatusCode::OK).then_some(())
    })
    .await;
    redis.resume();
    until_cache(&server, "connected").await;

    redis.kill();
    until_cache(&server, "disconnected").await;
    let me = send(&server, (Method::GET, "/auth/me"), Some(&bearer), None).await;
    assert_eq!(me.unwrap().status, StatusCode::OK);
    redis.start_again(&stage);
    until_cache(&server, "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_while_its_redis_is_away() {
    let stage = Stage::new(Engine::Sqlite).await;
    let mut redis = Redis::start(&stage);
    redis.kill();
    let server = Server::start_with(&stage, &redis.settings());
    until_cache(&server, "disconnected").await;
    register(&server).await;
    redis.start_again(&stage);
    until_cache(&server, "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_killed_postgresql() {
    let stage = Stage::with_own_postgres().await;
    let redis = Redis::start(&stage);
    let servers = Replicas::start(&stage, 2, &redis.settings());
    let ada = Person::register(&stage, &servers[0], "ada");
    ada.put("kept", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_it_has("kept").await;
    let bearer = token(&sign_in(&servers[1]).await);

    let database = stage.database().unwrap();
    let (begun, mut writes) = watch::channel(0);
    let writer = write_until_refused(&servers[1], &bearer, &begun);
    let killer = async {
        writes.wait_for(|writes| *writes >= 3).await.unwrap();
        database.kill();
    };
    let (acknowledged, ()) = tokio::join!(writer, killer);
    for server in servers.iter() {
        says_that_it_cannot_serve(server).await;
    }
    let refused = send(&servers[0], (Method::GET, "/keys"), Some(&bearer), None)
        .await
        .unwrap();
    assert_eq!(refused.body["code"], "unavailable");
    assert_eq!(
        agent.status().await.health,
        Health::Healthy,
        "a short outage changes nothing"
    );

    database.start_again();
    until_ready(&servers).await;
    let list = (Method::GET, "/keys?limit=200");
    let listed = send(&servers[0], list, Some(&bearer), None).await;
    let listed = listed.unwrap().body["items"].as_array().unwrap().clone();
    for name in &acknowledged {
        assert!(
            listed.iter().any(|key| key["name"] == *name),
            "{name} was acknowledged"
        );
    }
    assert!(!acknowledged.is_empty());
    promptly(Duration::from_secs(3), async |attempt| {
        let key = format!("revoked-{attempt}");
        ada.put(&key, &Secret::fresh());
        agent.until_it_has(&key).await;
        ada.revoke(&key);
        let revoked = Instant::now();
        until("the agent has wiped the key", async || {
            let key = agent.key(&key).await;
            key.is_none_or(|key| key.state != "live").then_some(())
        })
        .await;
        revoked.elapsed()
    })
    .await;
    assert_eq!(agent.key("kept").await.unwrap().state, "live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_postgresql_is_told_in_time_and_served_again_after() {
    let stage = Stage::with_own_postgres().await;
    let server = Server::start(&stage);
    let bearer = token(&register(&server).await);
    let database = stage.database().unwrap();
    promptly(Duration::from_secs(4), async |_attempt| {
        database.resume();
        until_served(&server, &bearer).await;
        database.pause();
        let asked = Instant::now();
        assert_eq!(ready(&server).await, StatusCode::SERVICE_UNAVAILABLE);
        asked.elapsed()
    })
    .await;
    promptly(Duration::from_secs(20), async |_attempt| {
        let asked = Instant::now();
        let refused = send(&server, (Method::GET, "/auth/me"), Some(&bearer), None).await;
        assert_eq!(refused.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        asked.elapsed()
    })
    .await;
    database.resume();
    until_served(&server, &bearer).await;
}

async fn until_served(server: &Server, bearer: &SecretString) {
    until("the server serves again", async || {
        let me = send(server, (Method::GET, "/auth/me"), Some(bearer), None).await;
        (me.unwrap().status == StatusCode::OK).then_some(())
    })
    .await;
}

/// The server keeps the sessions open meanwhile, and believes afterwards that nothing has changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_longer_than_the_lease_ends_the_keys_and_they_come_back_by_themselves() {
    let stage = Stage::with_own_postgres().await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let shortened = stage
        .change(
            "UPDATE provider_keys SET policy = \
             REPLACE(policy, '\"lease_seconds\":900', '\"lease_seconds\":3')",
        )
        .await;
    assert_eq!(shortened, 1);
    let settings = "[reconnect]\nlongest_ms = 200\n";
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", settings).await;
    let ticket = ada.ticket_for_new_vm("my-program");
    let program = Client::direct(ticket.trim().as_bytes()).await.unwrap();
    let key = program.key("openai").await.unwrap();
    agent.until_holding("openai", 1).await;

    let database = stage.database().unwrap();
    database.pause();
    until("the leases are over", async || {
        let over = agent.key("openai").await?.state == "lease_over";
        (over && key.now().ok()?.state == PageState::LeaseOver).then_some(())
    })
    .await;
    assert_ne!(agent.status().await.health, Health::Healthy);
    database.resume();
    agent.until_holding("openai", 1).await;
    agent.until_healthy().await;
    until("the program has its key again", async || {
        (key.now().ok()?.state == PageState::Live).then_some(())
    })
    .await;
}

/// A balancer asks whether a server is ready, and nobody notices that all of them are replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_restarted_one_by_one_without_a_failed_request() {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let settings = [&redis.settings()[..], &[("KEYFERRY_DRAIN_SECONDS", "1")]].concat();
    let mut servers = Replicas::start(&stage, 2, &settings);
    let ada = Person::register(&stage, &servers[0], "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let bearer = token(&sign_in(&servers[1]).await);
    for number in 0..2 {
        let balancer = Balancer::new(&servers, bearer.clone());
        let restarted = balancer.restarted.clone();
        let serving = tokio::spawn(balancer.serve_until_restarted());
        assert!(servers[number].terminate().success());
        servers[number].start_again(&stage);
        restarted.store(true, Ordering::Relaxed);
        let served = serving.await.unwrap();
        assert!(served >= 5, "only {served} requests");
        assert_eq!(agent.key("openai").await.unwrap().state, "live");
    }
    agent.until_healthy().await;
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 2).await;
}

/// Sends requests to servers that say they are ready.
struct Balancer {
    servers: Vec<Rest>,
    bearer: SecretString,
    restarted: Arc<AtomicBool>,
}

impl Balancer {
    fn new(servers: &Replicas, bearer: SecretString) -> Self {
        Self {
            servers: servers.iter().map(Server::rest).collect(),
            bearer,
            restarted: Arc::default(),
        }
    }

    /// How many requests were served; none may fail.
    async fn serve_until_restarted(self) -> usize {
        let mut served = 0;
        while !self.restarted.load(Ordering::Relaxed) {
            for server in &self.servers {
                let ready = server.exchange(Ask::new(Method::GET, "/ready")).await;
                if !ready.is_ok_and(|ready| ready.status == StatusCode::OK) {
                    continue;
                }
                let keys = Ask::new(Method::GET, "/keys").signed_in(&self.bearer);
                let answer = server.exchange(keys).await.unwrap();
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
                served += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        served
    }
}

/// Stores keys until one is not acknowledged, and tells which were.
async fn write_until_refused(
    server: &Server,
    bearer: &SecretString,
    writes: &watch::Sender<usize>,
) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let begin = Instant::now();
    loop {
        assert!(
            begin.elapsed() < PATIENCE,
            "writes go on without a database"
        );
        let name = format!("key-{}", acknowledged.len());
        let body = json!({ "provider": "openai", "value": Secret::fresh().text() });
        let path = format!("/keys/{name}");
        let answer = send(server, (Method::PUT, &path), Some(bearer), Some(body)).await;
        match answer.unwrap().status {
            StatusCode::CREATED => {
                acknowledged.push(name);
                writes.send_replace(acknowledged.len());
            }
            refused => {
                assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
                return acknowledged;
            }
        }
    }
}

async fn says_that_it_cannot_serve(server: &Server) {
    let health = send(server, (Method::GET, "/health"), None, None).await;
    let health = health.unwrap();
    assert_eq!(health.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health.body["database"], "disconnected");
    assert_eq!(ready(server).await, StatusCode::SERVICE_UNAVAILABLE);
}

async fn until_ready(servers: &Replicas) {
    for server in servers.iter() {
        until("the server is ready again", async || {
            (ready(server).await == StatusCode::OK).then_some(())
        })
        .await;
    }
}

async fn until_cache(server: &Server, state: &str) {
    until(&format!("the cache is {state}"), async || {
        let health = send(server, (Method::GET, "/health"), None, None)
            .await
            .unwrap();
        (health.body["cache"] == state).then_some(())
    })
    .await;
}

async fn ready(server: &Server) -> StatusCode {
    let ready = send(server, (Method::GET, "/ready"), None, None).await;
    ready.unwrap().status
}

async fn register(server: &Server) -> Value {
    let account = json!({ "username": "ada", "password": PASSWORD });
    let made = send(
        server,
        (Method::POST, "/auth/register"),
        None,
        Some(account),
    )
    .await;
    made.unwrap().body
}

async fn sign_in(server: &Server) -> Value {
    let account = json!({ "username": "ada", "password": PASSWORD });
    let answer = send(server, (Method::POST, "/auth/login"), None, Some(account)).await;
    answer.unwrap().body
}

fn token(session: &Value) -> SecretString {
    session["access_token"].as_str().unwrap().into()
}

async fn send(
    server: &Server,
    (method, path): (Method, &str),
    bearer: Option<&SecretString>,
    body: Option<Value>,
) -> Result<Answer, RestError> {
    let mut ask = Ask::new(method, path);
    if let Some(bearer) = bearer {
        ask = ask.signed_in(bearer);
    }
    if let Some(body) = body {
        ask = ask.json(body.to_string().into());
    }
    server.rest().exchange(ask).await
}
