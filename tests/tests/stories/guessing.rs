//! Who guesses passwords is counted, whatever they do to go unnoticed.

use hyper::Method;
use keyferry_tests::{Engine, HeldBack, PASSWORD, Server, Stage, on_both_engines, until};
use serde_json::json;

use crate::closed_accounts::log_in_from;

on_both_engines!(who_hangs_up_before_the_answer_has_tried_a_password);

async fn who_hangs_up_before_the_answer_has_tried_a_password(engine: Engine) {
    const REFUSED: &str = "SELECT COUNT(*) FROM audit_events WHERE action = 'auth.login_refused'";
    let stage = Stage::new(engine).await;
    let settings = [
        ("KEYFERRY_PLAIN_HTTP", "true"),
        ("AUTH_ENABLE_RATE_LIMITING", "true"),
    ];
    let server = Server::start_with(&stage, &settings);
    let account = json!({ "username": "ada", "password": PASSWORD });
    let made = server.ask(Method::POST, "/auth/register", None, Some(account));
    assert_eq!(made.await.status, 201);
    let guess = json!({ "username": "ada", "password": "not-her-password" });
    for _ in 0..5 {
        HeldBack::begin(&server, ("POST /auth/login", ""), &guess)
            .await
            .hang_up()
            .await;
    }
    until("every try is written down", async || {
        (stage.count(REFUSED).await == 5).then_some(())
    })
    .await;
    let right = log_in_from(&server, "127.0.0.2", PASSWORD);
    assert_eq!(right.status, 429, "the account is locked");
    let counted = "SELECT COUNT(*) FROM login_failures WHERE failures = 5";
    assert_eq!(stage.count(counted).await, 2, "here and everywhere");
}
