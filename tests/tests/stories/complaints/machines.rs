//! Machines that reboot, lose the server or lack what they need.

use keyferry_tests::{
    Agent, Channel, Engine, Person, Relay, Secret, Server, Stage, Tool, on_both_engines, until,
};

use super::{IMPATIENT, shorten_leases, until_lease_is_over};

on_both_engines!(
    a_machine_that_reboots_is_not_bricked_by_its_spent_ticket,
    an_agent_comes_back_after_an_outage_longer_than_ticket_and_lease,
    a_lost_answer_does_not_burn_the_ticket,
    locked_memory_that_is_none_is_never_silent,
);

async fn a_machine_that_reboots_is_not_bricked_by_its_spent_ticket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let channel = Channel::open(&stage, &server, "kali-1");
    let wire = channel.wire();
    for version in 1..=3 {
        let mut agent = wire.boot(&stage, &format!("boot-{version}"));
        agent.until_holding("openai", version).await;
        agent.kill();
        ada.rotate("openai", &Secret::fresh());
    }
}

async fn an_agent_comes_back_after_an_outage_longer_than_ticket_and_lease(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start_with(&stage, &[("KEYFERRY_SWEEP_SECONDS", "1")]);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    shorten_leases(&stage).await;
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", IMPATIENT).await;
    let mut tool = Tool::open(&stage, &agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "live");

    server.kill();
    until_lease_is_over(&agent, "openai").await;
    assert_eq!(tool.next_event()["event"], "lease_over");
    stage.change("UPDATE tickets SET expires_at = 1").await;
    server.start_again(&stage);
    until("the ticket is swept", async || {
        let left = stage.count("SELECT COUNT(*) FROM tickets").await;
        (left == 0).then_some(())
    })
    .await;
    agent.until_healthy().await;
    agent.until_holding("openai", 1).await;
}

async fn a_lost_answer_does_not_burn_the_ticket(engine: Engine) {
    let stage = Stage::new(engine).await;
    let relay = Relay::new();
    let url = format!("https://127.0.0.1:{}", relay.port());
    let server = Server::start_with(&stage, &[("KEYFERRY_PUBLIC_URL", url.as_str())]);
    relay.lead_to(&server);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    // Every answer of the handshake is lost, one after the other: the server's last word first
    // after its database has taken the ticket for spent.
    relay.lose_answers(128);
    let agent = Agent::enrol_with(&stage, &ada, "kali-1", "[reconnect]\nlongest_ms = 10\n").await;
    agent.until_holding("openai", 1).await;
    const ENROLLED: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'agent.enrolled'";
    let enrolled = stage.count(ENROLLED).await;
    assert!(
        enrolled >= 2,
        "no answer was lost after the ticket was spent"
    );
    assert_eq!(
        ada.ask(&["vms", "list"])["items"][0]["suspected_clone"],
        false
    );
}

async fn locked_memory_that_is_none_is_never_silent(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let ticket = ada.ticket_for_new_vm("refusing");
    let none = ("unlocked", &[][..]);
    let mut refusing = Agent::launch_confined(&stage, "refusing", none, ticket.as_bytes());
    assert!(!refusing.wait().success());
    for told in ["allow_degraded", "RLIMIT_MEMLOCK"] {
        assert!(refusing.log().contains(told), "{}", refusing.log());
    }

    let ticket = ada.ticket_for_new_vm("poor");
    let accepted = ("unlocked", &["--allow-degraded"][..]);
    let mut poor = Agent::launch_confined(&stage, "poor", accepted, ticket.as_bytes());
    poor.until_served();
    poor.until_healthy().await;
    let status = poor.status().await;
    let memory = status
        .hardening
        .iter()
        .find(|step| step.step == "locked_memory");
    assert!(memory.is_some_and(|step| step.degraded && step.level == "unlocked"));
    assert!(status.advice.iter().any(|line| line.contains("MEMLOCK")));
    let vms = ada.ask(&["vms", "list"]);
    let vms = vms["items"].as_array().unwrap();
    let vm = vms.iter().find(|vm| vm["name"] == "poor").unwrap();
    assert_eq!(vm["protection"], "unlocked");
}
