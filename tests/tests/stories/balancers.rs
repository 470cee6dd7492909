//! Behind nginx and HAProxy: the client is known, agents stay connected, and nobody notices that a
//! server is replaced.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};
use keyferry_cli::rest::{Ask, Rest};
use keyferry_sdk::tls::ServerTrust;
use keyferry_tests::{
    Agent, Balancer, Engine, Front, PASSWORD, Person, Redis, Replicas, Secret, Server, Stage, until,
};
use secrecy::SecretString;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_the_client_is_known_and_agents_stay_connected() {
    before_one_server(Balancer::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_haproxy_the_client_is_known_and_agents_stay_connected() {
    before_one_server(Balancer::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_servers_behind_nginx_are_replaced() {
    before_two_servers(Balancer::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_servers_behind_haproxy_are_replaced() {
    before_two_servers(Balancer::Haproxy).await;
}

async fn before_one_server(balancer: Balancer) {
    let stage = Stage::new(Engine::Sqlite).await;
    let front = Front::new();
    let server = Server::start_with(&stage, &settings(&front));
    let _running = balancer
        .start(&stage, (&front, &[&server]), &stage.data_dir())
        .await;

    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_it_has("openai").await;
    let connection = agent.status().await.connection;
    assert_eq!(connection.server.as_deref(), Some(front.url()));
    ada.revoke("openai");
    until("the agent hears of it", async || {
        let key = agent.key("openai").await;
        key.is_none_or(|key| key.state != "live").then_some(())
    })
    .await;
    assert_eq!(own_address(&front), "127.0.0.2");
}

async fn before_two_servers(balancer: Balancer) {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let front = Front::new();
    let settings = [
        &redis.settings()[..],
        &settings(&front),
        &[("KEYFERRY_DRAIN_SECONDS", "2")],
    ]
    .concat();
    let mut servers = Replicas::start(&stage, 2, &settings);
    let both = [&servers[0], &servers[1]];
    let _running = balancer
        .start(&stage, (&front, &both), &stage.path("data-0"))
        .await;
    let ada = Person::register(&stage, &servers[0], "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    // Whichever server is asked.
    for _ in 0..4 {
        assert_eq!(own_address(&front), "127.0.0.2");
    }

    for number in 0..2 {
        let customer = Customer::begin(through(&front, &servers[0])).await;
        assert!(servers[number].terminate().success());
        servers[number].start_again(&stage);
        let served = customer.end().await;
        assert!(served >= 5, "only {served} requests");
        assert_eq!(agent.key("openai").await.unwrap().state, "live");
    }
    agent.until_healthy().await;
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 2).await;
}

fn settings(front: &Front) -> [(&str, &str); 2] {
    [
        ("KEYFERRY_PUBLIC_URL", front.url()),
        ("KEYFERRY_TRUSTED_PROXIES", "127.0.0.1"),
    ]
}

/// What is asked through the balancer, which shows the server's certificate.
fn through(front: &Front, server: &Server) -> Rest {
    let pin = server.fingerprint().parse().unwrap();
    Rest::new(front.url().parse().unwrap(), ServerTrust::Pinned(pin))
}

/// Somebody who asks without a pause.
struct Customer {
    over: Arc<AtomicBool>,
    asking: tokio::task::JoinHandle<usize>,
}

impl Customer {
    async fn begin(rest: Rest) -> Self {
        let account = json!({ "username": "ada", "password": PASSWORD }).to_string();
        let login = Ask::new(Method::POST, "/auth/login").json(account.into());
        let session = rest.exchange(login).await.unwrap().body;
        let bearer: SecretString = session["access_token"].as_str().unwrap().into();
        let over = Arc::new(AtomicBool::new(false));
        let asking = tokio::spawn(ask_until(Arc::clone(&over), rest, bearer));
        Self { over, asking }
    }

    /// How many requests were served; none may fail.
    async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}

async fn ask_until(over: Arc<AtomicBool>, rest: Rest, bearer: SecretString) -> usize {
    let mut served = 0;
    while !over.load(Ordering::Relaxed) {
        let keys = Ask::new(Method::GET, "/keys").signed_in(&bearer);
        let answer = rest.exchange(keys).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        served += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    served
}

/// The address that a client's session has, which is another than the proxy's. It lies about it.
fn own_address(front: &Front) -> String {
    let account = json!({ "username": "ada", "password": PASSWORD }).to_string();
    let login = format!("{}/auth/login", front.url());
    let from = [
        "--interface",
        "127.0.0.2",
        "-H",
        "X-Forwarded-For: 203.0.113.9",
    ];
    let send = [
        "-H",
        "Content-Type: application/json",
        "-d",
        &account,
        &login,
    ];
    let session = curl_json(&[&from[..], &send].concat());
    let bearer = format!(
        "Authorization: Bearer {}",
        session["access_token"].as_str().unwrap()
    );
    let sessions = format!("{}/auth/sessions", front.url());
    let own = curl_json(&["-H", &bearer, &sessions]);
    let items = own["items"].as_array().unwrap();
    let current = items
        .iter()
        .find(|session| session["current"] == true)
        .unwrap();
    current["address"].as_str().unwrap().to_owned()
}

fn curl_json(arguments: &[&str]) -> Value {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--insecure", "--max-time", "20"]);
    let output = command.args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}
