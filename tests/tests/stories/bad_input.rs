//! Nonsense at every edge: a clear error, and nothing changed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use hyper::{Method, StatusCode};
use keyferry_sdk::tls::{ServerTrust, client_config};
use keyferry_tests::{
    Agent, Engine, PASSWORD, PATIENCE, Person, Secret, Server, Stage, on_both_engines, until,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

on_both_engines!(
    json_that_is_wrong_is_refused_with_the_field_at_fault,
    a_sealed_value_that_does_not_open_is_refused,
    a_ticket_that_is_none_stops_the_agent_with_advice,
    a_ticket_with_one_changed_character_is_refused,
    bytes_that_are_no_handshake_close_the_connection_without_a_reason,
    bytes_that_are_no_local_frame_do_not_disturb_the_agent,
    http_that_is_ambiguous_is_refused,
    a_nul_is_refused_by_the_server_and_not_by_the_database,
);

async fn json_that_is_wrong_is_refused_with_the_field_at_fault(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let token = token(&server).await;
    let honest = json!({ "provider": "openai", "value": "sk-1" });
    let changes = [
        ("provider", json!("nobody"), "provider"),
        ("provider", Value::Null, "provider"),
        ("value", json!(""), "value"),
        ("value", json!("a\nb"), "value"),
        ("value", json!("k".repeat(8193)), "value"),
        ("value", json!(5), "value"),
        ("polcy", json!({}), "polcy"),
        ("policy", json!({ "lease_seconds": 1 }), "lease_seconds"),
        ("policy", json!({ "vms": ["nobody"] }), "vms"),
    ];
    for (member, value, field) in changes {
        let mut body = honest.clone();
        body[member] = value;
        let put = server
            .ask(Method::PUT, "/keys/openai", Some(&token), Some(body))
            .await;
        assert_eq!(
            put.status,
            StatusCode::BAD_REQUEST,
            "{member}: {}",
            put.body
        );
        assert_eq!(put.body["code"], "invalid_input", "{member}");
        assert!(
            put.body["errors"].to_string().contains(field),
            "{member}: {}",
            put.body
        );
    }
    let named = server
        .ask(Method::PUT, "/keys/no%20name", Some(&token), Some(honest))
        .await;
    assert_eq!(named.status, StatusCode::BAD_REQUEST, "{}", named.body);
    let keys = server.ask(Method::GET, "/keys", Some(&token), None).await;
    assert_eq!(
        keys.body["items"],
        json!([]),
        "a refused request changed something"
    );
}

async fn a_nul_is_refused_by_the_server_and_not_by_the_database(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let token = token(&server).await;
    let me = server
        .ask(Method::GET, "/auth/me", Some(&token), None)
        .await;
    let me = format!("/members/{}", me.body["id"].as_str().unwrap());
    let role = json!({ "role": "a\0b" });
    let invitation = json!({ "email": "bob@example.org", "role": "a\0b" });
    for (method, path, body) in [
        (Method::GET, "/keys?cursor=YQBi", None),
        (Method::GET, "/roles?cursor=YQBi", None),
        (Method::PATCH, me.as_str(), Some(role)),
        (Method::POST, "/invitations", Some(invitation)),
    ] {
        let answer = server.ask(method, path, Some(&token), body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

async fn a_sealed_value_that_does_not_open_is_refused(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let token = token(&server).await;
    let zeros = "A".repeat(100);
    let random = format!("{}{}", "B".repeat(50), "C".repeat(50));
    for sealed in ["", "AAAA", "not base64!", &zeros, &random] {
        let body = json!({ "provider": "openai", "sealed": sealed, "version": 1 });
        let put = server
            .ask(Method::PUT, "/keys/openai", Some(&token), Some(body))
            .await;
        assert_eq!(
            put.status,
            StatusCode::BAD_REQUEST,
            "{sealed}: {}",
            put.body
        );
    }
    let keys = server.ask(Method::GET, "/keys", Some(&token), None).await;
    assert_eq!(keys.body["items"], json!([]));
}

async fn a_ticket_that_is_none_stops_the_agent_with_advice(engine: Engine) {
    let stage = Stage::new(engine).await;
    let endless = "A".repeat(100_000);
    for (number, text) in [
        "",
        "\n",
        "hello",
        "kft1_",
        "kft1_AAAA",
        "kft9_AAAA",
        &endless,
    ]
    .into_iter()
    .enumerate()
    {
        let socket = stage.path(&format!("{number}.sock"));
        let mut agent = Agent::launch(&stage, &format!("vm-{number}"), &socket, text.as_bytes());
        assert!(!agent.wait().success(), "{text:.20}");
        assert!(
            agent.log().contains("ticket"),
            "{text:.20}: {}",
            agent.log()
        );
        assert!(!socket.exists(), "{text:.20}");
    }
}

async fn a_ticket_with_one_changed_character_is_refused(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    let ticket = ada.ticket_for_new_vm("kali-1");
    for position in [6, 40, 80, ticket.trim_end().len() - 1] {
        let mut changed = ticket.trim_end().to_owned().into_bytes();
        changed[position] = if changed[position] == b'A' {
            b'B'
        } else {
            b'A'
        };
        let socket = stage.path(&format!("{position}.sock"));
        let mut agent = Agent::launch(&stage, &format!("vm-{position}"), &socket, &changed);
        assert!(!agent.wait().success(), "position {position}");
        assert!(agent.log().contains("damaged"), "{}", agent.log());
    }
    Agent::start(&stage, "kali-1", ticket.as_bytes())
        .until_healthy()
        .await;
}

async fn bytes_that_are_no_handshake_close_the_connection_without_a_reason(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let first_byte_of_ours = [&b"KF\x01\x02"[..], &[7; 1300]].concat();
    for bytes in [
        &b""[..],
        b"x",
        &[0; 1249],
        &[0xff; 1269],
        &first_byte_of_ours,
        &[0; 60_000],
    ] {
        let (code, reason) = answer_to(&server, bytes).await;
        assert_eq!(
            (code, reason.as_str()),
            (CloseCode::Policy, ""),
            "{} bytes",
            bytes.len()
        );
    }
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
}

async fn bytes_that_are_no_local_frame_do_not_disturb_the_agent(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let ada = Person::register(&stage, &server, "ada");
    ada.put("openai", &Secret::fresh());
    let agent = Agent::enrol(&stage, &ada, "kali-1").await;
    agent.until_holding("openai", 1).await;
    let oversized = u32::MAX.to_be_bytes();
    let unknown = [0, 0, 0, 1, 77];
    let before_hello = [0, 0, 0, 1, 3];
    let cut_short = [0, 0, 0, 9, 2];
    let sixty_four = [b'A'; 70_000];
    for bytes in [
        &oversized[..],
        &unknown,
        &before_hello,
        &cut_short,
        &[0; 64],
        &sixty_four,
    ] {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The agent may close while we still write.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    until("the agent counts no tool", async || {
        // The one is the connection that asks.
        (agent.status().await.tools <= 1).then_some(())
    })
    .await;
    agent.until_holding("openai", 1).await;
}

async fn http_that_is_ambiguous_is_refused(engine: Engine) {
    let stage = Stage::new(engine).await;
    let server = Server::start(&stage);
    let requests = [
        "GET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "POST /auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "GET /health HTTP/1.1\nHost: a\n\n",
        "nonsense\r\n\r\n",
    ];
    for request in requests {
        let mut stream = tls(&server).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Closing without a farewell is fine here.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
    let plans = server.ask(Method::GET, "/plans", None, None).await;
    assert_eq!(plans.status, StatusCode::OK);
}

/// How the server ends a WebSocket on which `bytes` come instead of a handshake.
async fn answer_to(server: &Server, bytes: &[u8]) -> (CloseCode, String) {
    let url = server.url().replace("https", "wss");
    let mut request = format!("{url}/agent").into_client_request().unwrap();
    let protocol = "keyferry.v1".parse().unwrap();
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let (mut socket, _) = tokio_tungstenite::client_async(request, tls(server).await)
        .await
        .unwrap();
    socket
        .send(Message::Binary(bytes.to_vec().into()))
        .await
        .unwrap();
    match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() {
        Some(Ok(Message::Close(Some(frame)))) => (frame.code, frame.reason.to_string()),
        other => panic!("the server answered {other:?}"),
    }
}

async fn tls(server: &Server) -> TlsStream<TcpStream> {
    let trust = ServerTrust::Pinned(server.fingerprint().parse().unwrap());
    let connector = TlsConnector::from(Arc::new(client_config(&trust, None).unwrap()));
    let address = server.url().trim_start_matches("https://");
    let stream = TcpStream::connect(address).await.unwrap();
    connector
        .connect("127.0.0.1".try_into().unwrap(), stream)
        .await
        .unwrap()
}

async fn token(server: &Server) -> SecretString {
    let body = json!({ "username": "ada", "password": PASSWORD });
    let made = server
        .ask(Method::POST, "/auth/register", None, Some(body))
        .await;
    made.body["access_token"].as_str().unwrap().into()
}
