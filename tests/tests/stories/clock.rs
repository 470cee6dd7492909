//! The clock of the server's machine is set while people and agents use it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::{Method, StatusCode};
use keyferry_tests::{
    Agent, Engine, Operator, PASSWORD, Person, Secret, Server, Stage, WallClock, on_both_engines,
    until,
};
use secrecy::SecretString;
use serde_json::{Value, json};

on_both_engines!(
    a_clock_that_is_set_ahead_ends_tokens_and_tickets_but_no_lease,
    a_clock_that_is_set_back_logs_nobody_out_and_leaves_the_audit_in_order,
);

async fn a_clock_that_is_set_ahead_ends_tokens_and_tickets_but_no_lease(engine: Engine) {
    let stage = Stage::new(engine).await;
    let clock = WallClock::right(&stage);
    let server = Server::start_with(&stage, &clock.settings());
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let ticket = ada.ticket_for_new_vm("kali-2");
    let session = sign_in(&server).await;

    clock.set_ahead(20 * MINUTE);
    assert_eq!(me(&server, &session).await, StatusCode::UNAUTHORIZED);
    let session = refresh(&server, &session).await;
    assert_eq!(me(&server, &session).await, StatusCode::OK);
    let late = Agent::start(&stage, "kali-2", ticket.as_bytes());
    until("the ticket is refused", async || {
        server.log().contains("the ticket has ended").then_some(())
    })
    .await;
    assert!(late.key("openai").await.is_none());

    rotate(&server, &session).await;
    agent.until_holding("openai", 2).await;
    agent.until_healthy().await;
    let attached = server.log().matches("agent attached").count();
    assert_eq!(attached, 1, "the agent's session outlives the step");
}

async fn a_clock_that_is_set_back_logs_nobody_out_and_leaves_the_audit_in_order(engine: Engine) {
    let stage = Stage::new(engine).await;
    let clock = WallClock::right(&stage);
    clock.set_ahead(60 * MINUTE);
    let server = Server::start_with(&stage, &clock.settings());
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let session = sign_in(&server).await;

    clock.set_ahead(0);
    assert_eq!(
        me(&server, &session).await,
        StatusCode::UNAUTHORIZED,
        "a token whose time has not come"
    );
    let session = refresh(&server, &session).await;
    assert_eq!(me(&server, &session).await, StatusCode::OK);
    rotate(&server, &session).await;
    agent.until_holding("openai", 2).await;

    let bearer = token(&session);
    let told = server
        .ask(Method::GET, "/audit?limit=200", Some(&bearer), None)
        .await
        .body;
    let events = told["items"].as_array().unwrap();
    let place = |action: &str, nth: usize| {
        let mut places = (0..events.len()).filter(|at| events[*at]["action"] == action);
        places.nth(nth).unwrap()
    };
    let (rotated, put) = (place("key.rotate", 0), place("key.put", 0));
    assert!(rotated < put, "the newest comes first: {told}");
    assert!(
        events[rotated]["at"].as_str() < events[put]["at"].as_str(),
        "{told}"
    );
    let operator = Operator::of(&stage);
    operator.run(&["audit", "verify"], b"").success();
    let verified = operator.run(&["verify"], b"");
    assert!(
        verified.errors.contains("ahead of this clock"),
        "{}",
        verified.errors
    );
}

async fn sign_in(server: &Server) -> Value {
    let account = json!({ "username": "ada", "password": PASSWORD });
    let answer = server
        .ask(Method::POST, "/auth/login", None, Some(account))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

async fn refresh(server: &Server, session: &Value) -> Value {
    let body = json!({ "refresh_token": session["refresh_token"] });
    let answer = server
        .ask(Method::POST, "/auth/refresh", None, Some(body))
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body
}

async fn me(server: &Server, session: &Value) -> StatusCode {
    let bearer = token(session);
    server
        .ask(Method::GET, "/auth/me", Some(&bearer), None)
        .await
        .status
}

async fn rotate(server: &Server, session: &Value) {
    let bearer = token(session);
    let body = json!({ "value": Secret::fresh().text() });
    let rotated = server
        .ask(
            Method::POST,
            "/keys/openai/rotate",
            Some(&bearer),
            Some(body),
        )
        .await;
    assert_eq!(rotated.body["version"], 2, "{}", rotated.body);
}

fn token(session: &Value) -> SecretString {
    session["access_token"].as_str().unwrap().into()
}

const MINUTE: i64 = 60;
