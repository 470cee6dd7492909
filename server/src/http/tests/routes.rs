//! What the routes answer to well-formed requests.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Line, hear_out, is_problem};

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let line = Line::open().await;
    let (status, problem) = line.ask("POST /auth/login", "", "{}").await;
    assert_eq!(
        (status, &problem["code"]),
        (415, &json!("unsupported_media_type"))
    );
    let kind = "Content-Type: application/json\r\n";
    let (status, problem) = line.ask("POST /auth/login", kind, "[1]").await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_json")));
    let (status, problem) = line.post("/auth/login", &json!({ "pasword": "x" })).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (400, &json!("pasword"))
    );
}

#[tokio::test]
async fn an_account_lives_its_life_over_http() {
    let line = Line::open().await;
    let account = json!({ "username": "ada", "password": "SecurePass123!" });
    let (status, registered) = line.post("/api/v2/auth/register", &account).await;
    assert_eq!(status, 201, "{registered}");
    let (status, problem) = line.post("/api/auth/register", &account).await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("already_registered"))
    );
    let weak = json!({ "username": "eve", "password": "abc123" });
    let (status, problem) = line.post("/auth/register", &weak).await;
    assert_eq!((status, &problem["code"]), (400, &json!("weak_password")));

    let (status, tokens) = line.post("/auth/login", &account).await;
    assert_eq!(status, 200, "{tokens}");
    let bearer = format!(
        "Authorization: Bearer {}\r\n",
        tokens["access_token"].as_str().unwrap()
    );
    let (status, me) = line.ask("GET /auth/me", &bearer, "").await;
    assert_eq!((status, &me["username"]), (200, &json!("ada")));
    assert_eq!(line.ask("POST /auth/logout", &bearer, "").await.0, 204);
    assert_eq!(line.ask("GET /auth/me", &bearer, "").await.0, 401);
}

#[tokio::test]
async fn an_unsigned_caller_learns_how_to_sign_in() {
    let line = Line::open().await;
    let said = line
        .say(b"GET /auth/me HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    let said = said.to_ascii_lowercase();
    assert!(said.starts_with("http/1.1 401") && said.contains("www-authenticate: bearer"));
    assert!(said.contains("x-request-id: ") && said.contains("cache-control: no-store"));
}

#[tokio::test]
async fn another_method_is_told_the_right_ones() {
    let line = Line::open().await;
    let said = line
        .say(b"DELETE /auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(said.starts_with("HTTP/1.1 405 ") && said.contains("\"code\":\"method_not_allowed\""));
    assert!(
        said.to_ascii_lowercase().contains("\r\nallow: post\r\n"),
        "{said}"
    );
    let said = line
        .say(b"HEAD /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\n"),
        "{said}"
    );
}

#[tokio::test]
async fn the_state_of_the_server_is_told() {
    let line = Line::open().await;
    let (status, health) = line.ask("GET /health", "", "").await;
    assert_eq!((status, &health["status"]), (200, &json!("healthy")));
    let (_, database) = line.ask("GET /database/status", "", "").await;
    assert_eq!(
        (&database["status"], &database["engine"]),
        (&json!("connected"), &json!("sqlite"))
    );
    let (_, keys) = line.ask("GET /.well-known/jwks.json", "", "").await;
    assert_eq!(keys["keys"][0]["crv"], "Ed25519");
    assert_eq!(line.ask("GET /api/api/health", "", "").await.0, 404);

    line.server.app.store.close().await;
    let (status, health) = line.ask("GET /health", "", "").await;
    assert_eq!((status, &health["database"]), (503, &json!("disconnected")));
    assert_eq!(line.ask("GET /ready", "", "").await.0, 503);
}

#[tokio::test]
async fn the_agents_route_wants_an_upgrade() {
    let line = Line::open().await;
    let (status, problem) = line.ask("GET /agent", "", "").await;
    assert_eq!(
        (status, &problem["code"]),
        (400, &json!("upgrade_required"))
    );
    let upgrade = "GET /agent HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let other = format!("{upgrade}Sec-WebSocket-Protocol: chat\r\n\r\n");
    assert!(is_problem(
        &line.say(other.as_bytes()).await,
        400,
        "upgrade_required"
    ));
    let mut stream = line.connect().await;
    let ours = format!("{upgrade}Sec-WebSocket-Protocol: keyferry.v1\r\n\r\n");
    stream.write_all(ours.as_bytes()).await.unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 101");
}

#[tokio::test]
async fn a_stopping_server_closes_its_connections() {
    let line = Line::open().await;
    let mut stream = line.connect().await;
    stream
        .write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    stream.readable().await.unwrap();
    line.server.stopper.stop();
    assert!(hear_out(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_index_names_each_path_once() {
    let line = Line::open().await;
    let (_, index) = line.ask("GET /", "", "").await;
    let paths = index["endpoints"].as_array().unwrap();
    for (place, path) in paths.iter().enumerate() {
        assert!(!paths[..place].contains(path), "{path}");
    }
}
