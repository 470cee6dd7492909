//! Heads and bodies that are ambiguous, too large or too slow.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::{Line, SOON, hear_out, is_problem};
use crate::config::Config;

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
    let line = Line::open_impatient().await;
    for start in ["", "GET", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        assert_eq!(line.say(start.as_bytes()).await, "", "{start:?}");
    }
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_off() {
    let line = Line::open_impatient().await;
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
    let mut config = Config::for_tests();
    config.connections.body = SOON;
    let line = Line::open_with(config).await;
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
