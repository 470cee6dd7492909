//! The disk of the embedded engine, or of the audit alone, fills up and is emptied again.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_tests::{Agent, Engine, Person, Room, Secret, Server, SmallRoom, Stage, until};
use sqlx::{Connection, Executor, PgConnection};

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
    until("the server tells that nothing can be written", async || {
        let put = ["keys", "put", "another", "--raw"];
        ada.run(&put, Secret::fresh().text().as_bytes());
        tells(&server, (503, "full")).await.then_some(())
    })
    .await;
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
    until_told(&server, (200, "connected")).await;
    agent.until_holding("before", 2).await;
}

/// Waits until `/health` says this of the database, and `/ready` agrees.
async fn until_told(server: &Server, (status, said): (u16, &str)) {
    until("the server tells how its database is", async || {
        tells(server, (status, said)).await.then_some(())
    })
    .await;
}

async fn tells(server: &Server, (status, said): (u16, &str)) -> bool {
    let health = server.ask(Method::GET, "/health", None, None).await;
    let ready = server.ask(Method::GET, "/ready", None, None).await;
    health.status == status && ready.status == status && health.body["database"] == said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_became_a_standby_is_no_healthy_one() {
    let stage = Stage::new(Engine::Postgres).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let other = PgConnection::connect(stage.database().unwrap().url());
    let mut other = other.await.unwrap();
    // Connections that are there already go on as they were.
    const ELSE: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    const READ_ONLY: &str = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET \
        default_transaction_read_only = on', current_database()); END $$";
    const WRITABLE: &str = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I RESET \
        default_transaction_read_only', current_database()); END $$";
    for (change, said) in [
        (READ_ONLY, (503, "read_only")),
        (WRITABLE, (200, "connected")),
    ] {
        other.execute(change).await.unwrap();
        other.execute(ELSE).await.unwrap();
        until_told(&server, said).await;
    }
    ada.put("openai", &Secret::fresh());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_audit_has_no_room_for_is_neither_changed_nor_delivered() {
    let stage = Stage::with_postgres_in(Room::SmallBeside(8)).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let ticket = ada.ticket_for_new_vm("kali-1");
    let database = stage.database().unwrap();
    database.put_aside("audit_events").await;

    database.fill();
    let value = Secret::fresh();
    // What is left of the last page may still take some.
    until("changes are refused", async || {
        let rotate = ada.run(&["keys", "rotate", "openai"], value.text().as_bytes());
        (rotate.code != 0).then(|| {
            let told = rotate.errors.contains("cannot do this at the moment");
            assert!(told, "{}", rotate.errors);
        })
    })
    .await;
    until("the server tells that nothing can be written", async || {
        ada.run(&["keys", "rotate", "openai"], value.text().as_bytes());
        tells(&server, (503, "full")).await.then_some(())
    })
    .await;
    let agent = Agent::start(&stage, "kali-1", ticket.as_bytes());
    until("the operator is told", async || {
        let log = server.log();
        let told = log.contains("the database failed: the audit cannot be written");
        (told && log.contains("the database's disk is full")).then_some(())
    })
    .await;
    assert!(agent.key("openai").await.is_none());

    database.empty();
    agent.until_it_has("openai").await;
    agent.until_healthy().await;
    ada.rotate("openai", &Secret::fresh());
    until_told(&server, (200, "connected")).await;
}

fn name(key: &serde_json::Value) -> &str {
    key["name"].as_str().unwrap()
}
