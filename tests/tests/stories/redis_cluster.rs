//! Servers share a Redis Cluster, and go on when one of its primaries dies.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use keyferry_tests::{
    Agent, Engine, Guard, PASSWORD, Person, RedisCluster, Replicas, Secret, Server, Stage,
    promptly, until,
};
use secrecy::SecretString;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_share_a_cluster_and_miss_nothing_when_a_primary_of_it_dies() {
    let (stage, mut cluster) = with_cluster(Guard::Open).await;
    let servers = start(&stage, &cluster);
    until_all_say(&servers, "connected").await;
    assert_eq!(cluster.listeners(), 2);
    let ada = Person::register(&stage, &servers[0], "ada");
    ada.put("openai", &Secret::fresh());
    let there = Person::sign_in(&stage, (&servers[1], "ada-1"), "ada");
    let agent = Agent::enrol(&stage, &there, "kali-1").await;
    agent.until_holding("openai", 1).await;
    assert_eq!(register(&servers[1], "bob").await, StatusCode::CREATED);
    for server in servers.iter() {
        assert_eq!(register(server, "eve").await, StatusCode::TOO_MANY_REQUESTS);
    }

    let mut heard = cluster.eavesdrop(&stage);
    ada.rotate("openai", &Secret::fresh());
    while !heard.next_line().contains(" keys ") {}
    agent.until_holding("openai", 2).await;
    drop(heard);

    cluster.kill_primary();
    until_all_say(&servers, "disconnected").await;
    for server in servers.iter() {
        let health = server.ask(Method::GET, "/health", None, None).await;
        assert_eq!(health.status, StatusCode::OK);
        assert_eq!(health.body["status"], "degraded");
        assert_eq!(
            register(server, "eve").await,
            StatusCode::TOO_MANY_REQUESTS,
            "what was counted is remembered"
        );
    }
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 3).await;
    a_logout_counts_within_a_second(&servers).await;

    cluster.replace().await;
    until_all_say(&servers, "connected").await;
    assert_eq!(cluster.listeners(), 2);
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 4).await;
    cluster.start_again(&stage);
    a_logout_counts_within_a_second(&servers).await;
    assert_eq!(
        register(&servers[0], "eve").await,
        StatusCode::TOO_MANY_REQUESTS
    );
    until_all_say(&servers, "connected").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_reached_through_tls_by_a_user_who_may_do_little() {
    let (stage, cluster) = with_cluster(Guard::Acl).await;
    let servers = start(&stage, &cluster);
    until_all_say(&servers, "connected").await;
    assert_eq!(register(&servers[0], "ada").await, StatusCode::CREATED);
    assert_eq!(register(&servers[1], "bob").await, StatusCode::CREATED);
    assert_eq!(
        register(&servers[0], "eve").await,
        StatusCode::TOO_MANY_REQUESTS
    );
    until_all_say(&servers, "connected").await;
}

/// So many accounts may be registered in an hour as are registered before the first is refused.
fn start(stage: &Stage, cluster: &RedisCluster) -> Replicas {
    let given = cluster.settings();
    let given = given.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<_> = given
        .chain([("AUTH_REGISTRATIONS_PER_HOUR", "2")])
        .collect();
    Replicas::start(stage, 2, &settings)
}

async fn with_cluster(guard: Guard) -> (Stage, RedisCluster) {
    let stage = Stage::new(Engine::Postgres).await;
    let cluster = RedisCluster::start(&stage, guard).await;
    (stage, cluster)
}

async fn a_logout_counts_within_a_second(servers: &Replicas) {
    promptly(Duration::from_secs(1), async |_attempt| {
        let account = json!({ "username": "ada", "password": PASSWORD });
        let login = (Method::POST, "/auth/login");
        let session = servers[0].ask(login.0, login.1, None, Some(account)).await;
        let token: SecretString = session.body["access_token"].as_str().unwrap().into();
        assert_eq!(me(&servers[1], &token).await, StatusCode::OK);
        let out = (Method::POST, "/auth/logout");
        servers[0].ask(out.0, out.1, Some(&token), None).await;
        let out = Instant::now();
        for server in servers.iter() {
            assert_eq!(me(server, &token).await, StatusCode::UNAUTHORIZED);
        }
        out.elapsed()
    })
    .await;
}

async fn me(server: &Server, token: &SecretString) -> StatusCode {
    let me = server.ask(Method::GET, "/auth/me", Some(token), None);
    me.await.status
}

async fn register(server: &Server, name: &str) -> StatusCode {
    let account = json!({ "username": name, "password": PASSWORD });
    let made = server.ask(Method::POST, "/auth/register", None, Some(account));
    made.await.status
}

async fn until_all_say(servers: &Replicas, state: &str) {
    for server in servers.iter() {
        until(&format!("the cluster is {state}"), async || {
            let health = server.ask(Method::GET, "/health", None, None).await;
            (health.body["cache"] == state).then_some(())
        })
        .await;
    }
}
