//! The primary Redis dies, a Sentinel makes a replica the primary, and the servers go on with it.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

use hyper::Method;
use keyferry_tests::{Agent, Engine, Person, Replicas, Secret, Sentinel, Stage, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_go_on_with_the_primary_that_a_sentinel_names() {
    let stage = Stage::new(Engine::Postgres).await;
    let mut sentinel = Sentinel::start(&stage).await;
    let servers = Replicas::start(&stage, 2, &[("REDIS_URL", &sentinel.url())]);
    until_connected(&servers).await;
    let until_all_listen = async |sentinel: &Sentinel| {
        until("both servers listen at the primary", async || {
            (sentinel.listeners() == servers.iter().count()).then_some(())
        })
        .await;
    };
    until_all_listen(&sentinel).await;
    let ada = Person::register(&stage, &servers[0], "ada");
    ada.put("openai", &Secret::fresh());
    let there = Person::sign_in(&stage, (&servers[1], "ada-1"), "ada");
    let agent = Agent::enrol(&stage, &there, "kali-1").await;
    agent.until_holding("openai", 1).await;

    let killed = sentinel.kill_primary();
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 2).await;
    sentinel.until_led_by_another(killed).await;
    until_all_listen(&sentinel).await;
    until_connected(&servers).await;

    // The old one says that it is a primary too, until the Sentinel finds it.
    sentinel.start_again(&stage, killed);
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 3).await;
    until_all_listen(&sentinel).await;
}

async fn until_connected(servers: &Replicas) {
    for server in servers.iter() {
        until("the server has its Redis", async || {
            let health = server.ask(Method::GET, "/health", None, None).await;
            (health.body["cache"] == "connected").then_some(())
        })
        .await;
    }
}
