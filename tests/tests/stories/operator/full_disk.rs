//! The disk of the embedded engine fills up, and is emptied again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use hyper::Method;
use keyferry_tests::{Agent, Engine, Person, Secret, SmallRoom, Stage};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_changes_are_refused_and_what_was_acknowledged_stays() {
    let stage = Stage::new(Engine::Sqlite).await;
    let (server, room) = SmallRoom::start(&stage, 12);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("before", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("before", 1).await;

    room.fill();
    let mut acknowledged = vec!["before".to_owned()];
    let mut refused = Vec::new();
    // What is left of the write-ahead log may still take some.
    for number in 0.. {
        let name = format!("key-{number}");
        let value = Secret::fresh();
        let put = ada.run(&["keys", "put", &name, "--raw"], value.text().as_bytes());
        if put.code == 0 {
            acknowledged.push(name);
        } else {
            assert!(
                put.errors.contains("cannot do this at the moment"),
                "{}",
                put.errors
            );
            refused.push(name);
        }
        if refused.len() == 3 {
            break;
        }
    }
    let anybody = server
        .ask(Method::GET, "/.well-known/keyferry", None, None)
        .await;
    assert_eq!(anybody.status, 200);
    assert!(
        agent
            .key("before")
            .await
            .is_some_and(|key| key.state == "live")
    );

    room.empty();
    for name in &refused {
        ada.put(name, &Secret::fresh());
    }
    let listed = ada.ask(&["keys", "list"]);
    let listed: Vec<&str> = listed["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(name)
        .collect();
    for name in acknowledged.iter().chain(&refused) {
        assert!(listed.contains(&name.as_str()), "{name} of {listed:?}");
    }
    ada.rotate("before", &Secret::fresh());
    agent.until_holding("before", 2).await;
}

fn name(key: &serde_json::Value) -> &str {
    key["name"].as_str().unwrap()
}
