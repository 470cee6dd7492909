//! Programs are killed without a warning, and nothing is lost or left behind.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_sdk::status::Health;
use keyferry_tests::{Agent, Engine, Person, Secret, Server, Stage, Tool, on_both_engines, until};

on_both_engines!(
    the_agent_outlives_a_killed_server_and_comes_back_by_itself,
    an_acknowledged_change_outlives_a_killed_server,
    what_a_killed_server_left_half_written_is_cleared_away,
    a_killed_agent_takes_its_pages_with_it,
    a_server_that_is_asked_to_end_does_so_in_good_order,
    an_agent_that_is_asked_to_end_tells_its_tools,
);

async fn the_agent_outlives_a_killed_server_and_comes_back_by_itself(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let key = Secret::fresh();
    ada.put("openai", &key);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["version"], 1);

    server.kill();
    until("the agent is stale", async || {
        (agent.status().await.health == Health::Stale).then_some(())
    })
    .await;
    let read = [
        "read",
        "openai",
        "--socket",
        agent.socket().to_str().unwrap(),
    ];
    assert_eq!(ada.run(&read, b"").success().output, key.text());

    server.start_again(&stage);
    agent.until_healthy().await;
    ada.rotate("openai", &Secret::fresh());
    assert_eq!(tool.next_event()["version"], 2);
}

async fn what_a_killed_server_left_half_written_is_cleared_away(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    server.kill();
    let unique = "0123456789abcdef0123456789abcdef";
    let half = ["epoch", "audit-anchor.json", "outbox/a.eml"]
        .map(|name| stage.data_dir().join(format!("{name}.new-{unique}")));
    let mine = stage.data_dir().join("notes.new-of-mine");
    for path in half.iter().chain([&mine]) {
        std::fs::write(path, b"half").unwrap();
    }
    server.start_again(&stage);
    for path in &half {
        assert!(!path.exists(), "{}", path.display());
    }
    assert!(mine.exists());
}

async fn an_acknowledged_change_outlives_a_killed_server(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("revoked", &Secret::fresh());
    ada.put("rotated", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("rotated", 1).await;
    let mut tool = Tool::open_watching_the_page(&stage, &agent, "revoked").await;
    assert_eq!(tool.next_event()["event"], "live");

    ada.rotate("rotated", &Secret::fresh());
    ada.revoke("revoked");
    server.crash_and_restart(&stage);
    assert_eq!(tool.next_event()["event"], "revoked");
    agent.until_holding("rotated", 2).await;
    assert_eq!(
        ada.ask(&["keys", "show", "revoked"])["key"]["status"],
        "revoked"
    );
}

async fn a_killed_agent_takes_its_pages_with_it(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let mut agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "live");

    agent.kill();
    assert_eq!(tool.next_event()["event"], "agent_gone");
    let read = [
        "read",
        "openai",
        "--socket",
        agent.socket().to_str().unwrap(),
    ];
    let answer = ada.run(&read, b"");
    assert_eq!((answer.code, answer.output.as_str()), (6, ""));
    assert!(answer.errors.contains("not running"), "{}", answer.errors);

    let again = Agent::start(&stage, "kali-1", ada.ticket("kali-1").as_bytes());
    again.until_holding("openai", 1).await;
}

async fn a_server_that_is_asked_to_end_does_so_in_good_order(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    assert!(server.terminate().success());
    agent.until_cut_off().await;
    assert!(
        agent
            .key("openai")
            .await
            .is_some_and(|key| key.state == "live")
    );
    server.start_again(&stage);
    agent.until_healthy().await;
}

async fn an_agent_that_is_asked_to_end_tells_its_tools(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let mut agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "live");
    assert!(agent.terminate().success());
    let last = tool.next_event();
    assert!(
        last["event"] == "lease_over" || last["event"] == "agent_gone",
        "{last}"
    );
    // It leaves its socket: who may remove a file may remove any in that folder, and Landlock allows
    // it none. A dead socket refuses everybody, systemd removes its folder, and the next agent
    // takes its place.
    let again = Agent::start(&stage, "kali-1", ada.ticket("kali-1").as_bytes());
    again.until_holding("openai", 1).await;
}
