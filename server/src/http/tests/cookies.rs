//! Sessions in a browser's cookies.

use serde_json::{Value, json};

use super::Line;

/// The cookies that an answer sets, as the browser sends them back, and their marks.
fn cookies(said: &str) -> (String, Vec<String>) {
    let lines = said.lines().filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie")
            .then(|| value.to_owned())
    });
    let set: Vec<String> = lines.collect();
    let sent: Vec<&str> = set.iter().filter_map(|one| one.split(';').next()).collect();
    (format!("Cookie: {}\r\n", sent.join("; ")), set)
}

async fn post_raw(line: &Line, path: &str, fields: &str, body: &Value) -> String {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    line.say(head.as_bytes()).await
}

#[tokio::test]
async fn a_browser_keeps_its_session_in_cookies() {
    let line = Line::open().await;
    let mut claim = json!({ "username": "ada", "password": "SecurePass123!" });
    line.post("/auth/register", &claim).await;
    claim["cookie"] = json!(true);
    let said = post_raw(&line, "/api/auth/login", "", &claim).await;
    let body: Value = serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap();
    for token in ["access_token", "refresh_token", "session_token"] {
        assert_eq!(body[token], Value::Null, "{token}");
    }
    let csrf = format!("X-CSRF-Token: {}\r\n", body["csrf_token"].as_str().unwrap());
    let (cookie, set) = cookies(&said);
    assert_eq!(set.len(), 3);
    assert!(set[0].starts_with("__Host-keyferry_session=kfs_"));
    assert!(set[0].ends_with("; Path=/; Max-Age=604800; HttpOnly; SameSite=Strict; Secure"));
    assert!(set[1].contains("; Path=/api/auth/refresh; ") && set[1].contains("HttpOnly"));
    assert!(!set[2].contains("HttpOnly"), "the page reads this one");

    assert_eq!(line.ask("GET /auth/me", &cookie, "").await.0, 200);
    let (status, problem) = line.ask("POST /auth/logout", &cookie, "").await;
    assert_eq!(
        (status, &problem["code"]),
        (403, &json!("csrf_token_missing"))
    );
    let forged = "X-CSRF-Token: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
    let (status, _) = line
        .ask("POST /auth/logout", &format!("{cookie}{forged}"), "")
        .await;
    assert_eq!(status, 403);

    let refused = post_raw(&line, "/api/auth/refresh", &cookie, &json!({})).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let both = format!("{cookie}{csrf}");
    let said = post_raw(&line, "/api/auth/refresh", &both, &json!({})).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let (renewed, again) = cookies(&said);
    assert_eq!(again[0], set[0], "the session stays");
    assert_ne!(again[1], set[1]);

    let out = line
        .ask("POST /auth/logout", &format!("{renewed}{csrf}"), "")
        .await;
    assert_eq!(out.0, 204);
    assert_eq!(line.ask("GET /auth/me", &renewed, "").await.0, 401);
}

#[tokio::test]
async fn a_bearer_needs_no_csrf_token_whatever_cookies_come_along() {
    let line = Line::open().await;
    let claim = json!({ "username": "ada", "password": "SecurePass123!" });
    let (_, registered) = line.post("/auth/register", &claim).await;
    let fields = format!(
        "Authorization: Bearer {}\r\nCookie: __Host-keyferry_session=kfs_x\r\n",
        registered["access_token"].as_str().unwrap()
    );
    assert_eq!(line.ask("POST /auth/logout", &fields, "").await.0, 204);
}
