//! The first hour of somebody who comes with curl and the calls of an earlier system.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{CurlAnswer, Engine, Server, Stage, curl, on_both_engines};
use serde_json::Value;

on_both_engines!(
    a_newcomer_registers_and_signs_in_by_name_and_by_mail,
    a_newcomer_of_the_second_interface_brings_a_tenant,
    six_wrong_logins_make_the_right_one_wait_and_say_how_long,
    passwords_that_everybody_guesses_are_refused,
    a_program_gets_an_api_key_of_its_own,
);

async fn a_newcomer_registers_and_signs_in_by_name_and_by_mail(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let made = post(&server, "/auth/register", TESTUSER);
    assert_eq!(made.status, 201, "{}", made.body);
    for field in ["id", "username", "email", "full_name", "is_active"] {
        assert!(made.body.get(field).is_some(), "{field} is missing");
    }
    assert_eq!(made.body["email_verified"], false);
    for login in [
        r#"{"username":"testuser","password":"SecurePass123!"}"#,
        r#"{"email":"test@example.com","password":"SecurePass123!"}"#,
        r#"{"username":"TestUser","password":"SecurePass123!"}"#,
    ] {
        let answer = post(&server, "/api/auth/login", login);
        assert_eq!(answer.status, 200, "{login}: {}", answer.body);
        assert_eq!(answer.body["user"]["username"], "testuser");
        assert_eq!(answer.body["user_id"], made.body["id"]);
        for token in ["access_token", "session_token"] {
            let bearer = format!("Authorization: Bearer {}", text(&answer.body[token]));
            let me = curl(&server, "/auth/me", &["-H", &bearer]);
            assert_eq!((me.status, &me.body["id"]), (200, &made.body["id"]));
        }
        let refresh = format!(
            r#"{{"refresh_token":"{}"}}"#,
            text(&answer.body["refresh_token"])
        );
        let refreshed = post(&server, "/auth/refresh", &refresh);
        assert_eq!(refreshed.status, 200, "{}", refreshed.body);
    }
}

async fn a_newcomer_of_the_second_interface_brings_a_tenant(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let made = post(&server, "/api/v2/auth/register", WITH_TENANT);
    assert_eq!(made.status, 201, "{}", made.body);
    assert_eq!(made.body["full_name"], "Test User");
    assert_eq!(made.body["tenant"]["name"], "Test Works");
    assert_eq!(made.body["token_type"], "Bearer");
    assert_eq!(made.body["expires_in"], 900);
    let bearer = format!("Authorization: Bearer {}", text(&made.body["access_token"]));
    let me = curl(&server, "/api/v2/auth/me", &["-H", &bearer]);
    assert_eq!((me.status, &me.body["roles"][0]), (200, &"owner".into()));
    assert_eq!(me.body["plan"]["name"], "free");
    assert_eq!(me.body["plan"]["requests_per_minute"], 100);
}

async fn six_wrong_logins_make_the_right_one_wait_and_say_how_long(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    post(&server, "/auth/register", TESTUSER);
    let wrong = r#"{"username":"testuser","password":"SecurePass123?"}"#;
    let statuses: Vec<u16> = (0..6)
        .map(|_| post(&server, "/auth/login", wrong).status)
        .collect();
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429]);
    let right = r#"{"username":"testuser","password":"SecurePass123!"}"#;
    let waits = post(&server, "/auth/login", right);
    assert_eq!(
        (waits.status, text(&waits.body["code"])),
        (429, "rate_limited")
    );
    let seconds: u64 = waits.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=900).contains(&seconds), "{seconds}");
    assert_eq!(waits.field("ratelimit-limit"), Some("5"), "{}", waits.head);
}

async fn passwords_that_everybody_guesses_are_refused(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    for weak in ["123", "password", "abc123"] {
        let body = format!(r#"{{"username":"testuser","password":"{weak}"}}"#);
        let refused = post(&server, "/auth/register", &body);
        assert_eq!(refused.status, 400, "{weak}: {}", refused.body);
        assert_eq!(refused.body["errors"][0]["field"], "password");
    }
    assert_eq!(post(&server, "/auth/register", TESTUSER).status, 201);
}

async fn a_program_gets_an_api_key_of_its_own(engine: Engine) {
    let (_stage, server) = stage(engine).await;
    let made = post(&server, "/auth/register", TESTUSER);
    let bearer = format!("Authorization: Bearer {}", text(&made.body["access_token"]));
    let body = r#"{"name":"build","expires_in_days":30}"#;
    let with_body = ["-H", &bearer, "-H", JSON, "-d", body];
    let key = curl(&server, "/auth/api-keys", &with_body);
    assert_eq!(key.status, 201, "{}", key.body);
    let secret = key
        .body
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_str);
    let secret = secret.clone().find(|text| text.starts_with("kf_")).unwrap();
    let as_program = format!("Authorization: Bearer {secret}");
    assert_eq!(curl(&server, "/keys", &["-H", &as_program]).status, 200);
    let list = curl(&server, "/auth/api-keys", &["-H", &bearer]);
    assert_eq!(list.body["items"][0]["name"], "build");
    assert!(!list.body.to_string().contains(secret), "it is shown once");
}

async fn stage(engine: Engine) -> (Stage, Server) {
    let stage = Stage::new(engine).await;
    let server = Server::start_with(&stage, &[("KEYFERRY_PLAIN_HTTP", "true")]);
    assert!(server.url().starts_with("http://127.0.0.1:"));
    (stage, server)
}

fn post(server: &Server, path: &str, body: &str) -> CurlAnswer {
    curl(server, path, &["-H", JSON, "-d", body])
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

const JSON: &str = "Content-Type: application/json";
const TESTUSER: &str =
    r#"{"username":"testuser","email":"test@example.com","password":"SecurePass123!"}"#;
const WITH_TENANT: &str = r#"{"email":"test@example.com","password":"SecurePass123",
    "full_name":"Test User","tenant_name":"Test Works"}"#;
