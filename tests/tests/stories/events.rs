//! What happens to keys and machines is told as it happens.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::{Duration, Instant};

use keyferry_tests::{
    Agent, Engine, Person, Program, Redis, Replicas, Secret, Server, Stage, on_both_engines,
    promptly,
};
use serde_json::Value;

on_both_engines!(
    the_owner_sees_live_what_a_machine_holds,
    what_came_while_nobody_could_listen_is_told_afterwards,
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

async fn what_came_while_nobody_could_listen_is_told_afterwards(engine: Engine) {
    let stage = Stage::new(engine).await;
    let mut server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let mut machine = ada.start("held", &["--json", "vms", "held", "kali-1", "--watch"]);
    until(&mut machine, |told| told["items"][0]["version"] == 1);

    server.kill();
    machine.pause();
    server.start_again(&stage);
    ada.rotate("openai", &Secret::fresh());
    agent.until_holding("openai", 2).await;
    machine.resume();
    until(&mut machine, |told| {
        let items = told["items"].as_array();
        items.is_some_and(|items| items.iter().any(|item| item["version"] == 2))
    });
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_at_one_server_is_told_at_another() {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let servers = Replicas::start(&stage, 2, &redis.settings());
    let ada = Person::register(&stage, &servers[0], "ada");
    let there = Person::sign_in(&stage, (&servers[1], "ada-1"), "ada");
    let mut watching = there.start("events", &["--json", "events"]);
    until(&mut watching, |event| event["event"] == "reload");

    ada.put("openai", &Secret::fresh());
    until(&mut watching, |event| event["event"] == "keys");
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    let server = agent.status().await.connection.server;
    assert_eq!(server.as_deref(), Some(servers[0].url()));
    let is_connected = |wanted: bool| {
        move |event: &Value| event["event"] == "vm" && event["data"]["connected"] == wanted
    };
    let vm = until(&mut watching, is_connected(true));
    assert_eq!(there.ask(&["vms", "list"])["items"][0]["connected"], true);
    let mut machine = there.start("held", &["--json", "vms", "held", "kali-1", "--watch"]);
    let before: Value = serde_json::from_str(&machine.next_line()).unwrap();
    assert_eq!(before["items"][0]["version"], 1);

    promptly(WITHOUT_A_LOOK_BY_THE_CLOCK, async |attempt| {
        let key = format!("groq-{attempt}");
        let mut slowest = Duration::ZERO;
        for (told, outcome) in [("put", "held"), ("revoke", "wiped")] {
            let begin = Instant::now();
            match told {
                "put" => ada.put(&key, &Secret::fresh()),
                _ => ada.revoke(&key),
            }
            for watching in [&mut watching, &mut machine] {
                let held = until(watching, |event| {
                    let data = &event["data"];
                    data["told"] == told && data["outcome"] == outcome && data["key"] == *key
                });
                assert_eq!(held["vm"], vm["id"]);
            }
            slowest = slowest.max(begin.elapsed());
        }
        slowest
    })
    .await;
    drop(agent);
    until(&mut watching, is_connected(false));
    assert_eq!(there.ask(&["vms", "list"])["items"][0]["connected"], false);
}

/// Without an event, a watcher looks every ten seconds.
const WITHOUT_A_LOOK_BY_THE_CLOCK: Duration = Duration::from_secs(3);
