//! A machine enrols by a code that it shows and a person approves.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_sdk::status::{Approval, ConnectionState};
use keyferry_tests::{Agent, Engine, Person, Secret, Server, Stage, on_both_engines, until};
use serde_json::Value;

on_both_engines!(
    a_machine_is_approved_by_the_code_on_its_screen,
    a_machine_that_was_cut_off_asks_for_approval_again,
    a_machine_whose_credential_has_ended_keeps_its_lease_and_asks_again,
    a_denied_machine_holds_nothing_and_says_so,
);

/// Starts an agent that asks for approval.
fn start(stage: &Stage, server: &Server, name: &str) -> Agent {
    let settings = stage.path("impatient.toml");
    std::fs::write(&settings, "[reconnect]\nlongest_ms = 200\n").unwrap();
    Agent::start_configured(stage, name, |command| {
        command.args(["--approve", "--server", server.url(), "--name", name]);
        command.args(["--fingerprint", server.fingerprint()]);
        command.arg("--config").arg(&settings);
    })
}

/// What it shows.
async fn shown(agent: &Agent) -> Approval {
    until("the agent shows a code", async || {
        agent.status().await.connection.approval
    })
    .await
}

async fn a_machine_is_approved_by_the_code_on_its_screen(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = start(&stage, &server, "kali-1");
    let Approval { code, fingerprint } = shown(&agent).await;
    assert!(agent.log().contains(&format!("keyferry approve {code}")));
    let state = agent.status().await.connection.state;
    assert_eq!(state, ConnectionState::AwaitingApproval);

    // Without a person to ask, an option has to vouch for the machine's key.
    let unasked = ada.run(&["approve", &code], b"");
    assert_eq!(unasked.code, 1, "{unasked:?}");
    let other = ["approve", &code, "--key", "sha256:another"];
    assert!(ada.run(&other, b"").errors.contains("another key"));
    let strange = ada.run(&["approve", "BCDF-GHJK-LMNP", "--yes"], b"");
    assert_eq!(strange.code, 4, "{strange:?}");

    let written = code.to_lowercase().replace('-', "");
    let approved = ada.ask(&["approve", &written, "--key", &fingerprint]);
    assert_eq!(approved["status"], "approved");
    agent.until_holding("openai", 1).await;
    assert_eq!(agent.status().await.connection.approval, None);
    let listed = ada.ask(&["enrolments"])["items"][0].clone();
    assert_eq!(
        (&listed["code"], &listed["vm"]),
        (&code.into(), &approved["vm"])
    );
    let vms: Value = ada.ask(&["vms", "list"]);
    assert_eq!(vms["items"][0]["name"], "kali-1");
}

async fn a_machine_that_was_cut_off_asks_for_approval_again(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = start(&stage, &server, "kali-1");
    let first = shown(&agent).await;
    ada.run(&["approve", &first.code, "--yes"], b"").success();
    agent.until_holding("openai", 1).await;

    // Whatever the agent was given is void; it is still running, and nobody comes near it.
    ada.run(&["vms", "cut-off", "kali-1"], b"").success();
    let second = shown(&agent).await;
    assert_ne!(first.code, second.code);
    assert_eq!(first.fingerprint, second.fingerprint);
    assert!(
        agent
            .status()
            .await
            .keys
            .iter()
            .all(|key| key.state != "live")
    );
    let refused = ada.run(&["--json", "approve", &second.code, "--yes"], b"");
    assert!(refused.errors.contains("vm_cut_off"), "{refused:?}");
    ada.run(&["vms", "allow", "kali-1"], b"").success();
    ada.run(&["approve", &second.code, "--yes"], b"").success();
    agent.until_healthy().await;
    agent.until_holding("openai", 1).await;
}

async fn a_machine_whose_credential_has_ended_keeps_its_lease_and_asks_again(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = start(&stage, &server, "kali-1");
    let first = shown(&agent).await;
    ada.run(&["approve", &first.code, "--yes"], b"").success();
    agent.until_holding("openai", 1).await;

    // An outage that is longer than everything that the machine was given.
    server.kill();
    agent.until_cut_off().await;
    assert!(stage.change("DELETE FROM reattach_credentials").await > 0);
    server.start_again(&stage);
    let second = shown(&agent).await;
    assert_ne!(first.code, second.code);
    agent.until_holding("openai", 1).await;
    ada.rotate("openai", &Secret::fresh());
    ada.run(&["approve", &second.code, "--yes"], b"").success();
    agent.until_holding("openai", 2).await;
}

async fn a_denied_machine_holds_nothing_and_says_so(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let agent = start(&stage, &server, "kali-1");
    let code = shown(&agent).await.code;
    ada.run(&["deny", &code], b"").success();
    until("the agent says that it was denied", async || {
        let error = agent.status().await.last_error?;
        error.contains("denied").then_some(())
    })
    .await;
    assert!(agent.status().await.keys.is_empty());
    let again = ada.run(&["--json", "approve", &code, "--yes"], b"");
    assert!(again.errors.contains("already_decided"), "{again:?}");
}
