//! The master key is replaced under three servers on one database.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::PathBuf;

use keyferry_tests::{
    Agent, Engine, Operator, Person, Redis, Replicas, Secret, Shared, Stage, until,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_files_of_all_servers_are_replaced_by_one_command() {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let mut servers = three(&stage, &redis.settings());
    let files: Vec<PathBuf> = (0..3)
        .map(|number| data_dir(&stage, number).join("master.key"))
        .collect();
    let old = std::fs::read(&files[0]).unwrap();
    let (people, agents) = everywhere(&stage, &servers).await;

    let operator = Operator::of(&stage).at(data_dir(&stage, 0));
    let mut rotation = operator.start("rotation", &["rotate", "master-key", "--json"]);
    for (number, person) in people.iter().enumerate() {
        person.put(&format!("meanwhile-{number}"), &Secret::fresh());
    }
    for agent in &agents {
        agent.until_it_has("meanwhile-2").await;
    }
    rotation.next_line();
    assert!(rotation.wait().success(), "{}", rotation.log());
    let new = std::fs::read(&files[0]).unwrap();
    assert_ne!(new, old);
    for file in &files {
        until("the file of every server holds the new key", async || {
            (std::fs::read(file).unwrap() == new).then_some(())
        })
        .await;
    }
    serve_on(&people, &agents, 2).await;
    for number in 0..3 {
        servers[number].crash_and_restart(&stage);
    }
    serve_on(&people, &agents, 3).await;
    assert_eq!(operator.ask(&["verify"])["ok"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_slept_through_it_starts_again_with_the_new_key_only() {
    let stage = Stage::new(Engine::Postgres).await;
    let redis = Redis::start(&stage);
    let mut servers = three(&stage, &redis.settings());
    let (people, agents) = everywhere(&stage, &servers).await;
    assert!(servers[2].terminate().success());

    let operator = Operator::of(&stage).at(data_dir(&stage, 0));
    operator.run(&["rotate", "master-key"], b"").success();
    serve_on(&people[..2], &agents, 2).await;
    let late = Operator::of(&stage).at(data_dir(&stage, 2));
    let refused = late.run(&["serve", "--listen", "127.0.0.1:0"], b"");
    assert!(
        refused.errors.contains("not the master key"),
        "{}",
        refused.errors
    );
    let [new, own] = [0, 2].map(|number| data_dir(&stage, number).join("master.key"));
    std::fs::copy(new, own).unwrap();
    servers[2].start_again(&stage);
    serve_on(&people, &agents, 3).await;
}

/// Each with a file of its own that holds the same key.
fn three(stage: &Stage, settings: &[(&str, &str)]) -> Replicas {
    let shared = Shared::fresh();
    Replicas::furnished(stage, (3, settings), |data_dir| {
        shared.put_certificate_into(data_dir);
        shared.put_master_key_into(data_dir);
    })
}

fn data_dir(stage: &Stage, number: usize) -> PathBuf {
    stage.path(&format!("data-{number}"))
}

/// Somebody at each server, and an agent that was enrolled there.
async fn everywhere<'a>(stage: &'a Stage, servers: &Replicas) -> (Vec<Person<'a>>, Vec<Agent>) {
    let mut people = vec![Person::register(stage, &servers[0], "ada")];
    people[0].put("openai", &Secret::fresh());
    for number in 1..3 {
        let at = format!("ada-{number}");
        people.push(Person::sign_in(stage, (&servers[number], &at), "ada"));
    }
    let mut agents = Vec::new();
    for (number, person) in people.iter().enumerate() {
        agents.push(Agent::enrol(stage, person, &format!("kali-{number}")).await);
    }
    (people, agents)
}

/// What one stores, the agents of all hold.
async fn serve_on(people: &[Person<'_>], agents: &[Agent], version: u32) {
    people.last().unwrap().rotate("openai", &Secret::fresh());
    for agent in agents {
        agent.until_holding("openai", version).await;
    }
}
