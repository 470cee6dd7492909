//! Two transactions wait for each other, and PostgreSQL gives one of them up.

use hyper::{Method, StatusCode};
use keyferry_tests::{Engine, PASSWORD, Person, Server, Stage};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_lost_a_deadlock_is_asked_to_come_again() {
    let stage = Stage::new(Engine::Postgres).await;
    // Long enough for both to wait before anybody is given up; the other side never is.
    const SERVERS: &str = "DO $$ BEGIN EXECUTE format( \
        'ALTER DATABASE %I SET deadlock_timeout = ''3s''', current_database()); END $$";
    stage.change(SERVERS).await;
    let server = Server::start(&stage);
    Person::register(&stage, &server, "ada");
    let account = json!({ "username": "ada", "password": PASSWORD });
    let session = server.ask(Method::POST, "/auth/login", None, Some(account));
    let session = session.await.body;
    let bearer = session["access_token"].as_str().unwrap().into();

    let mut other = stage.hold("SET LOCAL deadlock_timeout = '1h'").await;
    // The last of ada's two sessions, which the server comes to after it has the first.
    other
        .change("SELECT 1 FROM sessions ORDER BY ctid DESC LIMIT 1 FOR UPDATE")
        .await;
    let logout = async || {
        let path = "/auth/logout-all";
        server.ask(Method::POST, path, Some(&bearer), None).await
    };
    let waiting = async {
        stage.until_waiting().await;
        other.change("SELECT 1 FROM sessions FOR UPDATE").await;
    };
    let (refused, ()) = tokio::join!(logout(), waiting);
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.body["code"], "unavailable");

    other.let_go().await;
    assert_eq!(logout().await.status, StatusCode::NO_CONTENT);
}
