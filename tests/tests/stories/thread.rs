//! The main job: a key travels from a REST call into the page of a tool in a machine.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{Agent, Engine, Person, Secret, Server, Stage, Tool, on_both_engines, until};
use serde_json::{Value, json};

on_both_engines!(
    a_key_travels_into_a_tools_page_changes_there_and_vanishes_there,
    what_is_read_is_exactly_what_was_stored,
    a_key_for_one_machine_does_not_reach_another,
    a_key_that_may_not_be_read_stays_in_the_agent,
    a_ticket_enrols_one_agent_only,
    a_machine_that_is_cut_off_wipes,
    a_wiped_machine_acknowledges_and_can_come_back_with_a_new_ticket,
    what_another_tenant_owns_does_not_exist,
);

async fn a_key_travels_into_a_tools_page_changes_there_and_vanishes_there(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let (first, second) = (Secret::fresh(), Secret::fresh());
    ada.put("openai", &first);
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;

    let mut tool = Tool::open_watching_the_page(&stage, &agent, "openai").await;
    let live = tool.next_event();
    assert_eq!(
        (&live["event"], &live["version"]),
        (&json!("live"), &json!(1))
    );
    assert_eq!(live["sha256"], first.sha256());

    ada.rotate("openai", &second);
    let rotated = tool.next_event();
    assert_eq!(
        (&rotated["event"], &rotated["version"]),
        (&json!("live"), &json!(2))
    );
    assert_eq!(rotated["sha256"], second.sha256());

    ada.revoke("openai");
    assert_eq!(tool.next_event()["event"], "revoked");
    assert!(tool.wait());
    until(
        "the server knows that the machine wiped the key",
        async || {
            let held = ada.held("kali-1");
            all_wiped(&held).then_some(())
        },
    )
    .await;
}

async fn what_is_read_is_exactly_what_was_stored(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let longest = "k".repeat(8192);
    for (name, value) in [
        ("one-byte", "x"),
        ("spaces", " a b "),
        ("longest", &longest),
    ] {
        ada.run(&["keys", "put", name, "--raw"], value.as_bytes())
            .success();
    }
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let socket = agent.socket().to_str().unwrap();
    for (name, value) in [
        ("one-byte", "x"),
        ("spaces", " a b "),
        ("longest", &longest),
    ] {
        let read = ada.run(&["read", name, "--socket", socket], b"").success();
        assert_eq!(read.output, value, "{name}");
    }
}

async fn a_key_for_one_machine_does_not_reach_another(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let value = Secret::fresh();
    let put = ["keys", "put", "groq", "--raw", "--vm", "kali-1"];
    ada.run(&put, value.text().as_bytes()).success();
    ada.put("for-all", &Secret::fresh());

    let chosen = Agent::start(&stage, "kali-1", ada.ticket("kali-1").as_bytes());
    let other = Agent::enrol(&stage, &ada, "kali-2").await;
    chosen.until_holding("groq", 1).await;
    other.until_holding("for-all", 1).await;
    assert!(other.key("groq").await.is_none());
    let read = ["read", "groq", "--socket", other.socket().to_str().unwrap()];
    let answer = ada.run(&read, b"");
    assert_eq!(answer.code, 6, "{answer:?}");
}

async fn a_key_that_may_not_be_read_stays_in_the_agent(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(
        &["keys", "put", "openai"],
        Secret::fresh().text().as_bytes(),
    )
    .success();
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let read = [
        "--json",
        "read",
        "openai",
        "--socket",
        agent.socket().to_str().unwrap(),
    ];
    let answer = ada.run(&read, b"");
    assert_eq!((answer.code, answer.output.as_str()), (6, ""));
    assert!(answer.errors.contains("inject"), "{}", answer.errors);
}

async fn a_ticket_enrols_one_agent_only(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let ticket = ada.ticket_for_new_vm("kali-1");
    let first = Agent::start(&stage, "kali-1", ticket.as_bytes());
    first.until_healthy().await;

    let second = Agent::start(&stage, "thief", ticket.as_bytes());
    until("the second agent is refused", async || {
        let status = second.status().await;
        status.last_error.filter(|_| !status.connected)
    })
    .await;
    assert!(second.status().await.keys.is_empty());
    first.until_healthy().await;
}

async fn a_machine_that_is_cut_off_wipes(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let mut tool = Tool::open_watching_the_page(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "live");

    ada.run(&["vms", "cut-off", "kali-1"], b"").success();
    assert_ne!(tool.next_event()["event"], "live");
    agent.until_cut_off().await;
    let ticket = ada.run(&["--json", "vms", "ticket", "kali-1"], b"");
    assert!(ticket.errors.contains("vm_cut_off"), "{ticket:?}");
}

async fn a_wiped_machine_acknowledges_and_can_come_back_with_a_new_ticket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let mut agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;

    ada.run(&["vms", "wipe", "kali-1"], b"").success();
    until("the machine holds nothing", async || {
        agent
            .key("openai")
            .await
            .is_none_or(|key| key.state != "live")
            .then_some(())
    })
    .await;
    until("the server knows it", async || {
        let held = ada.held("kali-1");
        all_wiped(&held).then_some(())
    })
    .await;
    agent.kill();
    ada.run(&["vms", "allow", "kali-1"], b"").success();
    let again = Agent::start(&stage, "kali-1", ada.ticket("kali-1").as_bytes());
    again.until_holding("openai", 1).await;
}

async fn what_another_tenant_owns_does_not_exist(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let bob = Person::register(&stage, &server, "bob");
    ada.put("openai", &Secret::fresh());
    let vm = ada.ask(&["vms", "add", "kali-1"]);

    assert_eq!(bob.ask(&["keys", "list"])["items"], json!([]));
    assert_eq!(bob.ask(&["vms", "list"])["items"], json!([]));
    for arguments in [&["keys", "show", "openai"], &["keys", "revoke", "openai"]] {
        assert_eq!(bob.run(arguments, b"").code, 4, "{arguments:?}");
    }
    let id = vm["id"].as_str().unwrap();
    for command in ["ticket", "held", "wipe", "cut-off", "delete"] {
        assert_eq!(bob.run(&["vms", command, id], b"").code, 4, "{command}");
    }
    let bobs = Agent::enrol(&stage, &bob, "kali-1").await;
    assert!(bobs.status().await.keys.is_empty());
    assert_eq!(
        ada.ask(&["keys", "show", "openai"])["key"]["status"],
        "active"
    );
}

/// There is a row for each key that the machine was told of.
fn all_wiped(held: &[Value]) -> bool {
    !held.is_empty() && held.iter().all(|it| it["outcome"] == "wiped")
}
