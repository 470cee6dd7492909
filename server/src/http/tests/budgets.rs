//! What a tenant's plan allows in a minute.

use std::time::Duration;

use serde_json::json;

use super::{Line, is_problem};
use crate::store::TenantId;

async fn signed_in(line: &Line) -> (String, TenantId) {
    let account = json!({ "username": "ada", "password": "SecurePass123!" });
    let (_, made) = line.post("/auth/register", &account).await;
    let token = made["session_token"].as_str().unwrap();
    let tenant = made["tenant"]["id"].as_str().unwrap().parse().unwrap();
    (format!("Authorization: Bearer {token}\r\n"), tenant)
}

async fn keys(line: &Line, bearer: &str) -> String {
    let head = format!("GET /keys HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{bearer}\r\n");
    line.say(head.as_bytes()).await.to_ascii_lowercase()
}

#[tokio::test]
async fn a_plan_bounds_the_requests_of_a_minute() {
    let line = Line::open().await;
    let (bearer, tenant) = signed_in(&line).await;
    for left in (0..100).rev() {
        let said = keys(&line, &bearer).await;
        assert!(said.starts_with("http/1.1 200"), "{said}");
        assert!(
            said.contains(&format!("ratelimit-remaining: {left}\r\n")),
            "{said}"
        );
        assert!(said.contains("ratelimit-limit: 100\r\n"), "{said}");
        assert!(said.contains("ratelimit-policy: 100;w=60\r\n"), "{said}");
    }
    let said = keys(&line, &bearer).await;
    assert!(said.starts_with("http/1.1 429"), "{said}");
    assert!(said.contains("retry-after: 1\r\n"), "{said}");
    line.server.clock.advance(Duration::from_secs(1));
    assert!(keys(&line, &bearer).await.starts_with("http/1.1 200"));

    let mut change = line.server.app.store.begin().await.unwrap();
    change.change_plan(tenant, "enterprise").await.unwrap();
    change.commit().await.unwrap();
    for _ in 0..10 {
        let said = keys(&line, &bearer).await;
        assert!(said.starts_with("http/1.1 200"), "{said}");
        assert!(!said.contains("ratelimit-"), "{said}");
    }
}

#[tokio::test]
async fn a_refused_request_tells_what_is_left_too() {
    let line = Line::open().await;
    let (bearer, _) = signed_in(&line).await;
    let head = format!("GET /vms/none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{bearer}\r\n");
    let said = line.say(head.as_bytes()).await;
    assert!(is_problem(&said, 404, "not_found"), "{said}");
    assert!(
        said.to_ascii_lowercase()
            .contains("ratelimit-remaining: 99"),
        "{said}"
    );
}

#[tokio::test]
async fn a_client_behind_a_proxy_holds_no_seat_of_another_one() {
    let mut config = crate::config::Config::for_tests();
    config.web.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    config.connections.per_address = 1;
    let line = Line::open_with(config).await;
    // The proxy keeps connections open: without a client they count for nobody.
    let _idle = [line.connect().await, line.connect().await];
    let fields = "X-Forwarded-For: 198.51.100.1\r\n";
    assert_eq!(line.ask("GET /ready", fields, "").await.0, 200);
}
