//! A session is renewed by a fresh handshake, which takes over without a gap.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{Agent, Engine, Person, Secret, Server, Stage, Tool, on_both_engines, until};

on_both_engines!(
    a_renewed_session_takes_over_and_no_key_blinks,
    a_machine_that_renews_is_not_taken_for_a_clone,
);

/// A handshake every second, where otherwise there is one an hour.
const HASTY: &str = "[session]\nrenew_seconds = 1\n";

async fn a_renewed_session_takes_over_and_no_key_blinks(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", HASTY).await;
    let mut tool = Tool::open_watching_the_page(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["version"], 1);

    until_opened(&agent, 4).await;
    let rotated = Secret::fresh();
    ada.rotate("openai", &rotated);
    // The very next thing that the page shows is the new version: it never went away between.
    let seen = tool.next_event();
    assert_eq!(
        (&seen["event"], &seen["version"]),
        (&"live".into(), &2.into()),
        "{seen}"
    );
    assert_eq!(seen["sha256"], rotated.sha256());
    until_opened(&agent, 6).await;
    ada.revoke("openai");
    assert_eq!(tool.next_event()["event"], "revoked");
}

async fn a_machine_that_renews_is_not_taken_for_a_clone(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", HASTY).await;
    until_opened(&agent, 3).await;
    server.crash_and_restart(&stage);
    let before = opened(&agent);
    until_opened(&agent, before + 3).await;
    agent.until_healthy().await;
    let vms = ada.run(&["vms", "list", "--json"], b"").success().output;
    let vms: serde_json::Value = serde_json::from_str(&vms).unwrap();
    let vm = vms.as_array().map_or(&vms["items"][0], |vms| &vms[0]);
    assert_eq!(vm["name"], "kali-1", "{vms}");
    assert_eq!(vm["suspected_clone"], false);
}

fn opened(agent: &Agent) -> usize {
    agent.log().matches("session opened").count()
}

async fn until_opened(agent: &Agent, sessions: usize) {
    until(
        &format!("{sessions} sessions have been opened"),
        async || (opened(agent) >= sessions).then_some(()),
    )
    .await;
}
