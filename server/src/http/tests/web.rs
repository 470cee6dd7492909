//! Budgets, proxies, origins and names.

use serde_json::json;

use super::{Line, is_problem};
use crate::config::{Config, Sources};

fn field<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[tokio::test]
async fn a_used_up_budget_says_when_to_come_again() {
    let line = Line::open().await;
    let body = json!({ "username": "ada", "password": "WrongPass123!" });
    for _ in 0..5 {
        assert_eq!(line.post("/auth/login", &body).await.0, 401);
    }
    let body = body.to_string();
    let request = format!(
        "POST /auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = line.say(request.as_bytes()).await;
    assert!(is_problem(&said, 429, "rate_limited"), "{said}");
    for (name, value) in [
        ("Retry-After", "900"),
        ("RateLimit-Limit", "5"),
        ("RateLimit-Remaining", "0"),
        ("RateLimit-Reset", "900"),
        ("RateLimit-Policy", "5;w=900"),
    ] {
        assert_eq!(field(&said, name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_tells_who_asks() {
    let mut config = Config::for_tests();
    config.web.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let line = Line::open_with(config).await;
    let body = json!({ "username": "ada", "password": "WrongPass123!" }).to_string();
    let login = async |client: &str| {
        let fields = format!("Content-Type: application/json\r\nX-Forwarded-For: {client}\r\n");
        line.ask("POST /auth/login", &fields, &body).await.0
    };
    for _ in 0..5 {
        assert_eq!(login("198.51.100.1").await, 401);
    }
    assert_eq!(login("198.51.100.1").await, 429);
    assert_eq!(login("198.51.100.1, 203.0.113.1").await, 401);
}

#[tokio::test]
async fn a_session_that_moves_is_refused_where_it_is_bound() {
    let mut config = Config::for_tests();
    config.web.binding = crate::config::SessionBinding::Enforce;
    let line = Line::open_with(config).await;
    let account = json!({ "username": "ada", "password": "SecurePass123!" });
    let (_, registered) = line.post("/auth/register", &account).await;
    let bearer = format!(
        "Authorization: Bearer {}\r\n",
        registered["session_token"].as_str().unwrap()
    );
    assert_eq!(line.ask("GET /auth/me", &bearer, "").await.0, 200);
    let other = format!("{bearer}User-Agent: other\r\n");
    assert_eq!(line.ask("GET /auth/me", &other, "").await.0, 401);
    assert_eq!(line.ask("GET /auth/me", &bearer, "").await.0, 200);
}

#[tokio::test]
async fn only_pages_that_the_operator_named_read_answers() {
    let mut config = Config::for_tests();
    let named = [(
        "ALLOWED_ORIGINS",
        "https://app.example.org, http://192.168.1.0/24",
    )];
    config.web = Config::parse(&Sources::from_pairs(named)).unwrap().web;
    let line = Line::open_with(config).await;
    let ask = async |method: &str, origin: &str| {
        let more = "Access-Control-Request-Method: PUT\r\nConnection: close\r\n";
        let head = format!("{method} /keys HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n{more}\r\n");
        line.say(head.as_bytes()).await
    };
    for ours in ["https://app.example.org", "http://192.168.1.20:3000"] {
        let said = ask("OPTIONS", ours).await;
        assert!(said.starts_with("HTTP/1.1 204"), "{said}");
        assert_eq!(field(&said, "Access-Control-Allow-Origin"), Some(ours));
        assert!(
            field(&said, "Access-Control-Allow-Methods")
                .unwrap()
                .contains("PUT")
        );
        let said = ask("GET", ours).await;
        assert!(said.starts_with("HTTP/1.1 401"), "{said}");
        assert_eq!(
            field(&said, "Access-Control-Allow-Credentials"),
            Some("true")
        );
        assert_eq!(field(&said, "Vary"), Some("Origin"));
    }
    for foreign in ["https://evil.example", "null", "http://192.168.2.20"] {
        for method in ["OPTIONS", "GET"] {
            let said = ask(method, foreign).await;
            assert!(
                !said.to_ascii_lowercase().contains("access-control-"),
                "{said}"
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_name_is_not_answered() {
    let mut config = Config::for_tests();
    let named = [("KEYFERRY_ALLOWED_HOSTS", "keys.example.org")];
    config.web = Config::parse(&Sources::from_pairs(named)).unwrap().web;
    let line = Line::open_with(config).await;
    let ask = async |host: &str| {
        let head = format!("GET /ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        line.say(head.as_bytes()).await
    };
    assert!(
        ask("keys.example.org:8443")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let said = ask("evil.example").await;
    assert!(is_problem(&said, 421, "unknown_host"), "{said}");
}
