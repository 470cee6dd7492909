//! A machine enrols over the wire that its host has laid, and keeps nothing for it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use keyferry_tests::{Channel, Engine, Person, Secret, Server, Stage, on_both_engines, until};

on_both_engines!(
    no_ticket_of_the_host_channel_is_ever_written_to_a_file,
    a_machine_that_was_cut_off_comes_back_by_itself_once_it_is_active_again,
    of_two_clones_on_one_channel_one_is_served_and_the_owner_is_told,
);

fn holds(folder: &Path, what: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        std::fs::read(entry.unwrap().path()).is_ok_and(|bytes| {
            bytes
                .windows(what.len())
                .any(|window| window == what.as_bytes())
        })
    })
}

async fn no_ticket_of_the_host_channel_is_ever_written_to_a_file(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let channel = Channel::open(&stage, &server, "kali-1");
    let wire = channel.wire();
    wire.boot(&stage, "boot").until_healthy().await;
    assert!(
        !holds(stage.folder(), "kft1_"),
        "a ticket was written to a file"
    );
}

async fn a_machine_that_was_cut_off_comes_back_by_itself_once_it_is_active_again(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let channel = Channel::open(&stage, &server, "kali-1");
    let wire = channel.wire();
    let agent = wire.boot(&stage, "boot");
    agent.until_holding("openai", 1).await;

    ada.run(&["vms", "cut-off", "kali-1"], b"").success();
    until("the host says why there is no ticket", async || {
        let error = agent.status().await.last_error?;
        error.contains("vm_cut_off").then_some(())
    })
    .await;
    assert!(
        agent
            .status()
            .await
            .keys
            .iter()
            .all(|key| key.state != "live")
    );
    ada.run(&["vms", "allow", "kali-1"], b"").success();
    agent.until_healthy().await;
    agent.until_holding("openai", 1).await;
}

async fn of_two_clones_on_one_channel_one_is_served_and_the_owner_is_told(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    ada.run(&["vms", "add", "kali-1"], b"").success();
    let channel = Channel::open(&stage, &server, "kali-1");
    let (wire, wire_of_clone) = (channel.wire(), channel.wire());
    let mut original = wire.boot(&stage, "original");
    original.until_holding("openai", 1).await;

    let clone = wire_of_clone.boot(&stage, "clone");
    until("the clone is told why there is no ticket", async || {
        let error = clone.status().await.last_error?;
        error.contains("channel_in_use").then_some(())
    })
    .await;
    assert!(clone.status().await.keys.is_empty());
    let vms = ada.ask(&["vms", "list"]);
    assert_eq!(vms["items"][0]["suspected_clone"], true, "{vms}");
    original.until_healthy().await;
    original.until_holding("openai", 1).await;

    original.kill();
    drop(wire);
    clone.until_holding("openai", 1).await;
}
