//! What happens to a key after its delivery.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{Agent, Engine, Person, Secret, Server, Stage, Tool, on_both_engines, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

on_both_engines!(
    a_rotation_reaches_every_tool_in_every_machine,
    the_old_version_is_retired_and_destroyed_when_its_overlap_is_over,
    a_change_that_an_agent_missed_is_made_up_for,
    a_revoked_key_cannot_be_rotated_or_read_and_its_name_is_free_after_deletion,
    deleting_a_key_takes_it_out_of_the_pages,
    a_key_that_is_stored_later_arrives_by_itself,
    revoking_one_key_leaves_the_others_alone,
);

async fn a_rotation_reaches_every_tool_in_every_machine(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let first = Agent::enrol(&stage, &ada, "kali-1").await;
    let second = Agent::enrol(&stage, &ada, "kali-2").await;
    let mut tools = [
        Tool::open(&stage, &first, "openai").await,
        Tool::open_watching_the_page(&stage, &first, "openai").await,
        Tool::open(&stage, &second, "openai").await,
    ];
    for tool in &mut tools {
        assert_eq!(tool.next_event()["version"], 1);
    }
    let rotated = Secret::fresh();
    ada.rotate("openai", &rotated);
    for tool in &mut tools {
        let event = tool.next_event();
        assert_eq!(
            (event["version"].as_u64(), &event["sha256"]),
            (Some(2), &rotated.sha256().into())
        );
    }
}

async fn the_old_version_is_retired_and_destroyed_when_its_overlap_is_over(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("KEYFERRY_SWEEP_SECONDS", "1")]);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let rotate = ["keys", "rotate", "openai", "--overlap", "1h"];
    ada.run(&rotate, Secret::fresh().text().as_bytes())
        .success();
    agent.until_holding("openai", 2).await;
    assert_eq!(
        first_of(&ada.held("kali-1"))["told"],
        "put",
        "it was retired too early"
    );
    const AN_HOUR_LATER: &str = "UPDATE key_versions SET retire_at = 1 WHERE retire_at IS NOT NULL";
    assert_eq!(stage.change(AN_HOUR_LATER).await, 1);
    // The session looks again.
    let policy = [
        "keys",
        "policy",
        "openai",
        "--allow-host",
        "llm.example.org",
    ];
    ada.run(&policy, b"").success();
    until("the machine has retired version 1", async || {
        let held = ada.held("kali-1");
        (first_of(&held)["told"] == "retire" && first_of(&held)["outcome"] == "wiped").then_some(())
    })
    .await;
    until("version 1 is destroyed", async || {
        let versions = ada.ask(&["keys", "show", "openai"])["versions"].clone();
        first_of(versions.as_array().unwrap())["destroyed_at"]
            .is_string()
            .then_some(())
    })
    .await;
    agent.until_holding("openai", 2).await;
}

/// What a list says of version 1.
fn first_of(versions: &[Value]) -> &Value {
    versions.iter().find(|it| it["version"] == 1).unwrap()
}

async fn a_change_that_an_agent_missed_is_made_up_for(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    ada.put("groq", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let mut revoked = Tool::open_watching_the_page(&stage, &agent, "openai").await;
    let mut rotated = Tool::open_watching_the_page(&stage, &agent, "groq").await;
    assert_eq!(revoked.next_event()["event"], "live");
    assert_eq!(rotated.next_event()["version"], 1);

    signal(&agent, Signal::STOP);
    ada.revoke("openai");
    ada.rotate("groq", &Secret::fresh());
    signal(&agent, Signal::CONT);
    assert_eq!(revoked.next_event()["event"], "revoked");
    assert_eq!(rotated.next_event()["version"], 2);
}

async fn a_revoked_key_cannot_be_rotated_or_read_and_its_name_is_free_after_deletion(
    engine: Engine,
) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    ada.revoke("openai");
    ada.revoke("openai");

    let value = Secret::fresh();
    let rotated = ada.run(
        &["--json", "keys", "rotate", "openai"],
        value.text().as_bytes(),
    );
    assert!(rotated.errors.contains("key_revoked"), "{rotated:?}");
    let put = ada.run(
        &["--json", "keys", "put", "openai"],
        value.text().as_bytes(),
    );
    assert!(put.errors.contains("already_exists"), "{put:?}");
    let read = [
        "read",
        "openai",
        "--socket",
        agent.socket().to_str().unwrap(),
    ];
    until("the agent refuses it", async || {
        (ada.run(&read, b"").code == 6).then_some(())
    })
    .await;

    ada.run(&["keys", "delete", "openai"], b"").success();
    ada.put("openai", &value);
    agent.until_holding("openai", 1).await;
    assert_eq!(ada.run(&read, b"").success().output, value.text());
}

async fn deleting_a_key_takes_it_out_of_the_pages(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open_watching_the_page(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "live");
    ada.run(&["keys", "delete", "openai"], b"").success();
    assert_eq!(tool.next_event()["event"], "revoked");
    assert_eq!(ada.run(&["keys", "show", "openai"], b"").code, 4);
}

async fn a_key_that_is_stored_later_arrives_by_itself(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    assert!(agent.status().await.keys.is_empty());
    let value = Secret::fresh();
    ada.put("anthropic", &value);
    agent.until_holding("anthropic", 1).await;
    let mut tool = Tool::open(&stage, &agent, "anthropic").await;
    assert_eq!(tool.next_event()["sha256"], value.sha256());
}

async fn revoking_one_key_leaves_the_others_alone(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let kept = Secret::fresh();
    ada.put("kept", &kept);
    ada.put("gone", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open_watching_the_page(&stage, &agent, "gone").await;
    assert_eq!(tool.next_event()["event"], "live");
    ada.revoke("gone");
    assert_eq!(tool.next_event()["event"], "revoked");
    let read = ["read", "kept", "--socket", agent.socket().to_str().unwrap()];
    assert_eq!(ada.run(&read, b"").success().output, kept.text());
}

fn signal(agent: &Agent, signal: Signal) {
    kill_process(Pid::from_raw(agent.pid()).unwrap(), signal).unwrap();
}
