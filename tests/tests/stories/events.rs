//! What happens to keys and machines is told as it happens.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{Agent, Engine, Person, Program, Secret, Server, Stage, on_both_engines};
use serde_json::Value;

on_both_engines!(
    the_owner_sees_live_what_a_machine_holds,
    a_session_that_ends_takes_its_stream_with_it,
);

fn until(watching: &mut Program, what: impl Fn(&Value) -> bool) -> Value {
    loop {
        let event: Value = serde_json::from_str(&watching.next_line()).unwrap();
        if what(&event) {
            return event["data"].clone();
        }
    }
}

async fn the_owner_sees_live_what_a_machine_holds(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let bob = Person::register(&stage, &server, "bob");
    let mut watching = ada.start("events", &["--json", "events"]);
    let mut elsewhere = bob.start("events-elsewhere", &["--json", "events"]);
    for watching in [&mut watching, &mut elsewhere] {
        until(watching, |event| event["event"] == "reload");
    }
    ada.put("openai", &Secret::fresh());
    until(&mut watching, |event| event["event"] == "keys");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let vm = until(&mut watching, |event| {
        event["event"] == "vm" && event["data"]["connected"] == true
    });
    assert_eq!(vm["name"], "kali-1");
    let held = until(&mut watching, |event| event["data"]["outcome"] == "held");
    assert_eq!((&held["vm"], &held["key"]), (&vm["id"], &"openai".into()));

    let mut machine = ada.start("held", &["--json", "vms", "held", "kali-1", "--watch"]);
    let before: Value = serde_json::from_str(&machine.next_line()).unwrap();
    assert_eq!(before["items"][0]["version"], 1);
    // The stream is there once its first event could be; that one is not about the machine.
    ada.rotate("openai", &Secret::fresh());
    until(&mut watching, |event| {
        event["data"]["version"] == 2 && event["data"]["outcome"] == "held"
    });
    agent.until_holding("openai", 2).await;
    ada.revoke("openai");
    for watching in [&mut watching, &mut machine] {
        let wiped = until(watching, |event| {
            event["data"]["told"] == "revoke" && event["data"]["outcome"] == "wiped"
        });
        assert_eq!(wiped["vm"], vm["id"]);
    }
    drop(agent);
    until(&mut watching, |event| {
        event["event"] == "vm" && event["data"]["connected"] == false
    });

    // Nothing of it was told to another tenant.
    bob.put("groq", &Secret::fresh());
    let next: Value = serde_json::from_str(&elsewhere.next_line()).unwrap();
    assert_eq!(next["event"], "keys");
}

async fn a_session_that_ends_takes_its_stream_with_it(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let mut watching = ada.start("events", &["--json", "events"]);
    until(&mut watching, |event| event["event"] == "reload");
    ada.run(&["logout"], b"").success();
    let status = watching.wait();
    assert_eq!(status.code(), Some(3), "{}", watching.log());
}
