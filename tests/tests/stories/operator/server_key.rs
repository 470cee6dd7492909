//! The server's own key pairs are replaced: agents and programs that are connected hear of it,
//! others have a day.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_sdk::Client;
use keyferry_tests::{
    Agent, Engine, Operator, Person, Secret, Server, Stage, on_both_engines, until,
};

use super::database::execute;

on_both_engines!(
    a_new_server_key_reaches_connected_agents_and_the_old_one_counts_for_a_while,
    a_new_server_key_reaches_programs_without_an_agent,
);

async fn a_new_server_key_reaches_connected_agents_and_the_old_one_counts_for_a_while(
    engine: Engine,
) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let ticket = ada.ticket_for_new_vm("kali-2");
    let forgotten = ada.ticket_for_new_vm("kali-3");
    let before = published(&server).await;

    let told = Operator::of(&stage).ask(&["rotate", "server-key"]);
    assert!(
        told["previous_until"].as_str().unwrap().starts_with("20"),
        "{told}"
    );
    until("the server publishes its new keys", async || {
        let now = published(&server).await;
        (now["noise_key"] != before["noise_key"] && now["hpke_key"] != before["hpke_key"])
            .then_some(())
    })
    .await;
    until("the agent has heard", async || {
        agent
            .log()
            .contains("the server has a new static key")
            .then_some(())
    })
    .await;
    let old_ticket = Agent::start(&stage, "kali-2", ticket.as_bytes());
    old_ticket.until_holding("openai", 1).await;
    ada.rotate("openai", &Secret::fresh());

    // The overlap is over: only those who have heard come back.
    execute(&stage, OVERLAP_IS_OVER).await;
    server.crash_and_restart(&stage);
    agent.until_healthy().await;
    old_ticket.until_healthy().await;
    agent.until_holding("openai", 2).await;
    let late = Agent::start(&stage, "kali-3", forgotten.as_bytes());
    until("the old key is refused", async || {
        server
            .log()
            .contains("a handshake message does not open")
            .then_some(())
    })
    .await;
    assert!(late.key("openai").await.is_none());
}

async fn a_new_server_key_reaches_programs_without_an_agent(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let ticket = ada.ticket_for_new_vm("my-program");
    let program = Client::direct(ticket.trim().as_bytes()).await.unwrap();
    let key = program.key("openai").await.unwrap();
    let before = published(&server).await;
    Operator::of(&stage)
        .run(&["rotate", "server-key"], b"")
        .success();
    until("the server publishes its new keys", async || {
        (published(&server).await["noise_key"] != before["noise_key"]).then_some(())
    })
    .await;
    let until_version = async |version: u32| {
        until(&format!("the program has version {version}"), async || {
            (key.now().ok()?.version == version).then_some(())
        })
        .await;
    };
    // What is told of a key comes after what is told of the server.
    for version in 2..4 {
        ada.rotate("openai", &Secret::fresh());
        until_version(version).await;
    }
    execute(&stage, OVERLAP_IS_OVER).await;
    server.crash_and_restart(&stage);
    ada.rotate("openai", &Secret::fresh());
    until_version(4).await;
}

const OVERLAP_IS_OVER: &str = "UPDATE server_keys SET valid_until = 1 WHERE status = 'previous'";

async fn published(server: &Server) -> serde_json::Value {
    let answer = server
        .ask(Method::GET, "/.well-known/keyferry", None, None)
        .await;
    answer.body
}
