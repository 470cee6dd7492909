//! Tokens that were mailed to an address, while the account gets another one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use hyper::Method;
use keyferry_cli::rest::Ask;
use keyferry_tests::{Engine, PASSWORD, Server, Stage};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_the_old_address_verifies_no_new_one() {
    let (stage, server) = with_ada().await;
    let token = stage.mailed_token("kfe_").await;
    let change = stage.hold(ANOTHER_ADDRESS).await;
    let verifying = begin(&server, "/auth/email/verify", json!({ "token": token }));
    stage.until_waiting().await;
    change.commit().await;
    assert_eq!(verifying.await.unwrap(), (400, "invalid_token".to_owned()));
    assert_eq!(stage.count(VERIFIED).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_by_the_old_address_neither_verifies_the_new_one_nor_takes_the_account() {
    const CHANGED: &str = "SELECT COUNT(*) FROM users WHERE password_changed_at <> created_at";
    let (stage, server) = with_ada().await;
    stage.mailed_token("kfe_").await;
    stage.forget_mails();
    let ask = Some(json!({ "email": "ada@example.org" }));
    let asked = server.ask(Method::POST, "/auth/password/forgot", None, ask);
    assert_eq!(asked.await.status, 202);
    let token = stage.mailed_token("kfe_").await;
    let change = stage.hold(ANOTHER_ADDRESS).await;
    let new = json!({ "token": token, "new_password": "Copper-Meadow-4-Whistle" });
    let resetting = begin(&server, "/auth/password/reset", new);
    stage.until_waiting().await;
    change.commit().await;
    assert_eq!(resetting.await.unwrap(), (400, "invalid_token".to_owned()));
    assert_eq!(stage.count(VERIFIED).await, 0);
    assert_eq!(stage.count(CHANGED).await, 0);
}

async fn with_ada() -> (Stage, Server) {
    let stage = Stage::new(Engine::Postgres).await;
    let server = Server::start_with(&stage, &[("AUTH_ENABLE_EMAIL_VERIFICATION", "true")]);
    let ada = json!({ "username": "ada", "email": "ada@example.org", "password": PASSWORD });
    let made = server.ask(Method::POST, "/auth/register", None, Some(ada));
    assert_eq!(made.await.status, 201);
    (stage, server)
}

/// Posts this, and tells the status and the code of what comes of it.
fn begin(server: &Server, path: &'static str, body: Value) -> JoinHandle<(u16, String)> {
    let rest = server.rest();
    tokio::spawn(async move {
        let ask = Ask::new(Method::POST, path).json(body.to_string().into());
        let answer = rest.exchange(ask).await.unwrap();
        let code = answer.body["code"].as_str().unwrap_or_default();
        (answer.status.as_u16(), code.to_owned())
    })
}

/// As her own request would, which is not through yet.
const ANOTHER_ADDRESS: &str = "UPDATE users SET email = 'victim@example.org', \
    email_key = 'victim@example.org', email_verified = FALSE WHERE username = 'ada'";
const VERIFIED: &str = "SELECT COUNT(*) FROM users WHERE email_verified";
