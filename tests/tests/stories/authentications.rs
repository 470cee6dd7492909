//! The audit knows every authentication, and no flood of refusals fills it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::time::Instant;

use hyper::Method;
use keyferry_tests::{Engine, PASSWORD, Person, Server, Stage, on_both_engines};
use serde_json::{Value, json};

use crate::closed_accounts::log_in_from;

on_both_engines!(
    a_refresh_and_its_repetition_are_in_the_audit,
    who_is_limited_is_in_the_audit_once,
    a_wrong_second_factor_of_somebody_signed_in_is_in_the_audit,
);

async fn a_refresh_and_its_repetition_are_in_the_audit(engine: Engine) {
    let stage = Stage::new(engine).await;
    // Long enough for every repetition.
    let server = Server::start_with(&stage, &[("AUTH_REFRESH_GRACE_SECONDS", "60")]);
    let first = register(&server, "ada").await;
    let begin = Instant::now();
    let second = refresh(&server, &first).await;
    let again = refresh(&server, &first).await;
    assert_eq!(second["refresh_token"], again["refresh_token"]);
    for _ in 0..20 {
        refresh(&server, &first).await;
    }
    let fresh = "SELECT COUNT(*) FROM audit_events WHERE tenant_id IS NOT NULL \
        AND action = 'auth.refreshed' AND detail LIKE '%\"again\":false%'";
    assert_eq!(stage.count(fresh).await, 1);
    let repeated = "SELECT COUNT(*) FROM audit_events \
        WHERE action = 'auth.refreshed' AND detail LIKE '%\"again\":true%'";
    // Ten of one session a minute, and as many more as it took.
    let more = i64::try_from(begin.elapsed().as_secs() / 6).unwrap();
    let written = stage.count(repeated).await;
    assert!((10..=10 + more).contains(&written), "{written}, {more}");

    let unknown = json!({ "refresh_token": format!("kfr_{}", "A".repeat(43)) });
    for _ in 0..5 {
        assert_eq!(post(&server, "/auth/refresh", &unknown).await.0, 401);
    }
    let refused = "SELECT COUNT(*) FROM audit_events WHERE action = 'auth.proof_refused' \
        AND detail LIKE '%invalid_refresh_token%'";
    assert_eq!(stage.count(refused).await, 1);
}

async fn who_is_limited_is_in_the_audit_once(engine: Engine) {
    let stage = Stage::new(engine).await;
    let settings = [
        ("AUTH_REGISTRATIONS_PER_HOUR", "1"),
        ("AUTH_REFRESHES_PER_HOUR", "1"),
        ("AUTH_MAILS_PER_HOUR", "1"),
        ("AUTH_MAX_FAILED_ATTEMPTS", "1"),
    ];
    let server = Server::start_with(&stage, &settings);
    let ada = register(&server, "ada").await;
    let ada = refresh(&server, &ada).await;
    let refused = [
        (
            "/auth/refresh",
            json!({ "refresh_token": ada["refresh_token"] }),
        ),
        (
            "/auth/register",
            json!({ "username": "eve", "password": PASSWORD }),
        ),
    ];
    for _ in 0..5 {
        for (path, body) in &refused {
            assert_eq!(post(&server, path, body).await.0, 429, "{path}");
        }
    }
    let mail = json!({ "email": "nobody@example.org" });
    assert_eq!(post(&server, "/auth/password/forgot", &mail).await.0, 202);
    assert_eq!(log_in_from(&server, "127.0.0.9", "wrong").status, 401);
    for _ in 0..5 {
        assert_eq!(post(&server, "/auth/password/forgot", &mail).await.0, 429);
        assert_eq!(log_in_from(&server, "127.0.0.9", PASSWORD).status, 429);
    }
    for (limit, sql) in [
        (
            "refresh",
            "SELECT COUNT(*) FROM audit_events WHERE tenant_id IS NOT NULL \
            AND action = 'auth.rate_limited' AND detail LIKE '%\"limit\":\"refresh\"%'",
        ),
        (
            "register",
            "SELECT COUNT(*) FROM audit_events WHERE action = 'auth.rate_limited' \
            AND detail LIKE '%\"limit\":\"register\"%' AND detail LIKE '%127.0.0.1%'",
        ),
        (
            "mail",
            "SELECT COUNT(*) FROM audit_events WHERE action = 'auth.rate_limited' \
            AND detail LIKE '%\"limit\":\"mail\"%' AND detail NOT LIKE '%nobody%'",
        ),
        (
            "login",
            "SELECT COUNT(*) FROM audit_events WHERE subject IS NOT NULL \
            AND action = 'auth.rate_limited' AND detail LIKE '%\"limit\":\"login\"%' \
            AND detail LIKE '%127.0.0.9%'",
        ),
    ] {
        assert_eq!(stage.count(sql).await, 1, "{limit}");
    }
}

async fn a_wrong_second_factor_of_somebody_signed_in_is_in_the_audit(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.set_up_a_second_factor();
    let wrong = ada.run(&["mfa", "remove"], b"aaaa-aaaa-aaaa-aaaa");
    assert_eq!(wrong.code, 3, "{}", wrong.errors);
    let told = "SELECT COUNT(*) FROM audit_events WHERE action = 'security.second_factor_refused'";
    assert_eq!(stage.count(told).await, 1);
}

async fn register(server: &Server, name: &str) -> Value {
    let account = json!({ "username": name, "password": PASSWORD });
    let (status, made) = post(server, "/auth/register", &account).await;
    assert_eq!(status, 201, "{made}");
    made
}

async fn refresh(server: &Server, tokens: &Value) -> Value {
    let request = json!({ "refresh_token": tokens["refresh_token"] });
    let (status, answer) = post(server, "/auth/refresh", &request).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn post(server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let answer = server
        .ask(Method::POST, path, None, Some(body.clone()))
        .await;
    (answer.status.as_u16(), answer.body)
}
