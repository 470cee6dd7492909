//! Pages in browsers: cookies, forged requests, foreign origins and foreign names.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use keyferry_tests::{CurlAnswer, Engine, Server, Stage, curl, on_both_engines};

on_both_engines!(
    a_page_keeps_its_session_in_cookies_and_proves_that_it_is_ours,
    only_named_origins_read_answers,
    a_server_answers_only_under_its_names,
    the_documentation_loads_nothing,
);

async fn a_page_keeps_its_session_in_cookies_and_proves_that_it_is_ours(engine: Engine) {
    let (_stage, server) = stage(engine, &[]).await;
    let login = r#"{"username":"ada","password":"SecurePass123!","cookie":true}"#;
    let signed_in = curl(&server, "/api/auth/login", &["-H", JSON, "-d", login]);
    assert_eq!(signed_in.status, 200, "{}", signed_in.body);
    assert!(
        signed_in.body["access_token"].is_null(),
        "the page holds a token"
    );
    let cookies = cookies(&signed_in);
    assert_eq!(cookies.len(), 3);
    assert!(cookies[0].contains("HttpOnly") && cookies[0].contains("SameSite=Strict"));
    let sent: Vec<&str> = cookies
        .iter()
        .map(|one| one.split(';').next().unwrap())
        .collect();
    let sent = format!("Cookie: {}", sent.join("; "));

    assert_eq!(curl(&server, "/auth/me", &["-H", &sent]).status, 200);
    let body = r#"{"name":"forged"}"#;
    let forged = ["-H", JSON, "-H", &sent, "-d", body];
    let refused = curl(&server, "/vms", &forged);
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (403, &"csrf_token_missing".into())
    );
    let other = [&forged[..], &["-H", "X-CSRF-Token: AAAA"]].concat();
    assert_eq!(curl(&server, "/vms", &other).status, 403);
    let token = signed_in.body["csrf_token"].as_str().unwrap();
    let token = format!("X-CSRF-Token: {token}");
    let ours = [&forged[..], &["-H", &token]].concat();
    assert_eq!(curl(&server, "/vms", &ours).status, 201);

    let renew = ["-H", JSON, "-H", &sent, "-H", &token, "-d", "{}"];
    assert_eq!(curl(&server, "/api/auth/refresh", &renew).status, 200);
    let leave = ["-X", "POST", "-H", &sent, "-H", &token];
    let left = curl(&server, "/auth/logout", &leave);
    assert_eq!(left.status, 204);
    assert!(left.head.contains("Max-Age=0"), "{}", left.head);
    assert_eq!(curl(&server, "/auth/me", &["-H", &sent]).status, 401);
}

async fn only_named_origins_read_answers(engine: Engine) {
    let named = "https://app.example.org, http://192.168.1.0/24";
    let (_stage, server) = stage(engine, &[("ALLOWED_ORIGINS", named)]).await;
    let ask = |method: &str, origin: &str| {
        let origin = format!("Origin: {origin}");
        let wanted = "Access-Control-Request-Method: PUT";
        curl(
            &server,
            "/plans",
            &["-X", method, "-H", &origin, "-H", wanted],
        )
    };
    for ours in ["https://app.example.org", "http://192.168.1.77:8080"] {
        let preflight = ask("OPTIONS", ours);
        assert_eq!(preflight.status, 204);
        assert_eq!(preflight.field("Access-Control-Allow-Origin"), Some(ours));
        let answer = ask("GET", ours);
        assert_eq!(answer.field("Access-Control-Allow-Origin"), Some(ours));
        assert_eq!(
            answer.field("Access-Control-Allow-Credentials"),
            Some("true")
        );
        assert_eq!(answer.field("Vary"), Some("Origin"));
    }
    for foreign in [
        "https://evil.example",
        "null",
        "http://192.168.2.77",
        "https://app.example.org.evil.example",
    ] {
        for method in ["OPTIONS", "GET"] {
            let answer = ask(method, foreign);
            let head = answer.head.to_ascii_lowercase();
            assert!(
                !head.contains("access-control-"),
                "{method} {foreign}: {head}"
            );
        }
    }
}

async fn a_server_answers_only_under_its_names(engine: Engine) {
    let (_stage, server) = stage(engine, &[("KEYFERRY_ALLOWED_HOSTS", "keys.example.org")]).await;
    for (name, status) in [
        ("keys.example.org", 200),
        ("keys.example.org:8443", 200),
        ("127.0.0.1", 200),
        ("evil.example", 421),
        ("keys.example.org.evil.example", 421),
    ] {
        let host = format!("Host: {name}");
        assert_eq!(
            curl(&server, "/docs", &["-H", &host]).status,
            status,
            "{name}"
        );
    }
}

async fn the_documentation_loads_nothing(engine: Engine) {
    let (_stage, server) = stage(engine, &[]).await;
    let page = curl(&server, "/docs", &[]);
    assert_eq!(page.status, 200);
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let policy = page.field("Content-Security-Policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert_eq!(page.field("X-Content-Type-Options"), Some("nosniff"));
    let document = curl(&server, "/openapi.json", &[]);
    assert_eq!(document.body["openapi"], "3.1.0");
}

/// A server with an account on it.
async fn stage(engine: Engine, settings: &[(&str, &str)]) -> (Stage, Server) {
    let stage = Stage::new(engine).await;
    let settings = [settings, &[("KEYFERRY_PLAIN_HTTP", "true")]].concat();
    let server = Server::start_with(&stage, &settings);
    let account = r#"{"username":"ada","password":"SecurePass123!"}"#;
    let made = curl(&server, "/auth/register", &["-H", JSON, "-d", account]);
    assert_eq!(made.status, 201, "{}", made.body);
    (stage, server)
}

fn cookies(answer: &CurlAnswer) -> Vec<&str> {
    let fields = answer.head.lines().filter_map(|line| line.split_once(": "));
    let set = fields.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    set.map(|(_, value)| value).collect()
}

const JSON: &str = "Content-Type: application/json";
