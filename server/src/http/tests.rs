use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::{Identity, Listener, serve};
use crate::config::{Config, Sources};
use crate::data_dir::DataDir;
use crate::testing::{self, Server};

/// A server with short deadlines, and a client's connection to it.
pub(super) struct Line {
    pub(super) server: Server,
    address: std::net::SocketAddr,
}

impl Line {
    pub(super) async fn open() -> Self {
        Self::open_with(Config::for_tests()).await
    }

    async fn open_with(mut config: Config) -> Self {
        let limits = &mut config.connections;
        limits.first_byte = Duration::from_millis(400);
        (limits.head, limits.body) = (Duration::from_millis(400), Duration::from_millis(400));
        let server = testing::server_with(config).await;
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(serve(server.app.clone(), Listener { socket, tls: None }));
        Self { server, address }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that the server says to these bytes until it closes.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        hear_out(&mut stream).await
    }

    /// One request on a connection of its own: the status and the JSON of the answer.
    pub(super) async fn ask(&self, line: &str, fields: &str, body: &str) -> (u16, Value) {
        let len = body.len();
        let said = self
            .say(
                format!(
                    "{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                     Content-Length: {len}\r\n{fields}\r\n{body}"
                )
                .as_bytes(),
            )
            .await;
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let kind = "Content-Type: application/json\r\n";
        self.ask(&format!("POST {path}"), kind, &body.to_string())
            .await
    }
}

async fn hear_out(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let hearing = stream.read_to_end(&mut said);
    let ended = tokio::time::timeout(Duration::from_secs(20), hearing).await;
    let _ = ended.expect("the server closes the connection");
    String::from_utf8(said).unwrap()
}

fn is_problem(said: &str, status: u16, code: &str) -> bool {
    said.starts_with(&format!("HTTP/1.1 {status} "))
        && said.contains("application/problem+json")
        && said.contains(&format!("\"code\":\"{code}\""))
        && said.to_ascii_lowercase().contains("connection: close")
}

#[tokio::test]
async fn ambiguous_heads_are_refused_on_the_wire() {
    let line = Line::open().await;
    let two_ways = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    for head in [
        format!("POST /auth/login HTTP/1.1\r\nHost: a\r\n{two_ways}\r\n0\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na".to_owned(),
        "GET /health HTTP/1.1\nHost: a\n\n".to_owned(),
        "GET /health HTTP/1.1\r\nHost: a\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "GET /health HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n".to_owned(),
        "REFUSED /large HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\r\n\r\n".to_owned(),
    ] {
        let said = line.say(head.as_bytes()).await;
        assert!(
            is_problem(&said, 400, "malformed_request"),
            "{head:?} -> {said:?}"
        );
    }
}

#[tokio::test]
async fn a_head_over_the_bounds_is_refused() {
    let line = Line::open().await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(17_000));
    assert!(is_problem(
        &line.say(long.as_bytes()).await,
        431,
        "head_too_large"
    ));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(64));
    assert!(is_problem(
        &line.say(many.as_bytes()).await,
        431,
        "head_too_large"
    ));
}

#[tokio::test]
async fn a_refused_head_hides_behind_no_good_one() {
    let line = Line::open().await;
    let said = line
        .say(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\n\n")
        .await;
    assert!(said.starts_with("HTTP/1.1 200 OK"), "{said}");
    assert_eq!(said.matches("HTTP/1.1 ").count(), 2);
    assert!(said.contains("malformed_request"));
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_in_turn() {
    let line = Line::open().await;
    let one = "POST /auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
               Content-Length: 22\r\n\r\n{\"refresh_token\": \"x\"}";
    let said = line.say(format!("{one}{one}{one}GET\n").as_bytes()).await;
    assert_eq!(
        said.matches("invalid_refresh_token\"").count(),
        2 * 3,
        "{said}"
    );
}

#[tokio::test]
async fn silence_is_cut_off() {
    let line = Line::open().await;
    for start in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        assert_eq!(line.say(start.as_bytes()).await, "", "{start:?}");
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let line = Line::open().await;
    let mut stream = line.connect().await;
    let mut sent = 0;
    while sent < 600 && stream.write_all(b"A").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        sent += 1;
    }
    assert!(sent < 100, "it was cut off after {sent} bytes");
}

#[tokio::test]
async fn a_body_that_stalls_is_told_so() {
    let line = Line::open().await;
    let head = "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let said = line
        .say(format!("{head}Content-Length: 20\r\n\r\n{{\"user").as_bytes())
        .await;
    assert!(is_problem(&said, 408, "request_timeout"), "{said:?}");
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused() {
    let line = Line::open().await;
    let body = format!("{{\"username\": \"{}\"}}", "a".repeat(64 * 1024));
    let kind = "Content-Type: application/json\r\n";
    let (status, problem) = line.ask("POST /auth/login", kind, &body).await;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")));
    let chunked = format!(
        "POST /auth/login HTTP/1.1\r\nHost: a\r\n{kind}Transfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    assert!(is_problem(
        &line.say(chunked.as_bytes()).await,
        413,
        "body_too_large"
    ));
}

#[tokio::test]
async fn an_address_gets_its_share_of_connections() {
    let mut config = Config::for_tests();
    config.connections.per_address = 2;
    let line = Line::open_with(config).await;
    let mut first = line.connect().await;
    let _second = line.connect().await;
    // Answered, so both have their seats.
    first
        .write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    first.readable().await.unwrap();
    assert_eq!(hear_out(&mut line.connect().await).await, "");
}

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

/// A TLS listener, and a client that trusts its certificate.
async fn open_tls(versions: &[&'static rustls::SupportedProtocolVersion]) -> (Line, TlsConnector) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = DataDir::prepare(folder.path()).unwrap();
    let identity = Identity::load_or_make(&data_dir, &["localhost".to_owned()]).unwrap();
    let pem = data_dir.read("tls-certificate.pem").unwrap();
    let mut config = Config::for_tests();
    config.connections.tls_handshake = Duration::from_millis(400);
    let server = testing::server_with(config).await;
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let listener = Listener {
        socket,
        tls: Some(identity.acceptor),
    };
    tokio::spawn(serve(server.app.clone(), listener));

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (
        Line { server, address },
        TlsConnector::from(Arc::new(client)),
    )
}

#[tokio::test]
async fn tls_1_3_is_spoken_with_a_post_quantum_exchange() {
    let (line, connector) = open_tls(&[&rustls::version::TLS13]).await;
    let name = "localhost".try_into().unwrap();
    let mut stream = connector.connect(name, line.connect().await).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    stream
        .write_all(b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut said = [0; 12];
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 200");
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let (line, connector) = open_tls(&[&rustls::version::TLS12]).await;
    let name = "localhost".try_into().unwrap();
    assert!(connector.connect(name, line.connect().await).await.is_err());
}

#[tokio::test]
async fn an_unfinished_tls_handshake_is_cut_off() {
    let (line, _) = open_tls(&[&rustls::version::TLS13]).await;
    for start in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = line.connect().await;
        stream.write_all(start).await.unwrap();
        assert_eq!(hear_out(&mut stream).await, "");
    }
}

#[tokio::test]
async fn plain_http_on_the_tls_port_gets_no_answer() {
    let (line, _) = open_tls(&[&rustls::version::TLS13]).await;
    let mut stream = line.connect().await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"));
}

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
