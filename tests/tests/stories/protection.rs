//! Machines that cannot keep secrets as well as others: nobody is left in the dark about it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{Agent, Engine, Person, Secret, Server, Stage, Tool, on_both_engines};

on_both_engines!(
    without_memfd_secret_keys_are_in_locked_memory_and_owner_and_status_say_so,
    even_in_unlocked_memory_keys_come_and_go_where_the_operator_accepts_that,
);

async fn without_memfd_secret_keys_are_in_locked_memory_and_owner_and_status_say_so(
    engine: Engine,
) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let agent = held_at_level(&stage, &ada, ("mlock", &[])).await;
    let status = agent.status().await;
    assert!(status.hardening.iter().any(|step| step.degraded));
    assert!(status.advice.iter().any(|it| it.contains("secretmem")));
}

async fn even_in_unlocked_memory_keys_come_and_go_where_the_operator_accepts_that(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    held_at_level(&stage, &ada, ("unlocked", &["--allow-degraded"])).await;
}

/// An agent at this level whose tool sees a key come and go, and whose owner sees the level.
async fn held_at_level(stage: &Stage, ada: &Person<'_>, kind: (&str, &[&str])) -> Agent {
    let (level, _options) = kind;
    let key = Secret::fresh();
    ada.put("openai", &key);
    let ticket = ada.ticket_for_new_vm("poor");
    let mut agent = Agent::launch_confined(stage, "poor", kind, ticket.as_bytes());
    agent.until_served();
    agent.until_healthy().await;
    assert_eq!(agent.status().await.protection, level);
    let shown = ada.ask(&["vms", "list"]);
    let machines = shown["items"].as_array().unwrap();
    let machine = machines.iter().find(|vm| vm["name"] == "poor").unwrap();
    assert_eq!(machine["protection"], level);

    let mut tool = Tool::open_watching_the_page(stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["sha256"], key.sha256());
    ada.revoke("openai");
    assert_eq!(tool.next_event()["event"], "revoked");
    agent
}
