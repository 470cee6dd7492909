//! Who stands at the agents' gate and says nothing keeps nobody else out.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Line;
use crate::config::Config;

/// Knocks as an agent does, from this address; the connection, and the status of the answer.
async fn knock(line: &Line, from: &str) -> (TcpStream, String) {
    let mut stream = line.connect().await;
    let head = format!(
        "GET /agent HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: keyferry.v1\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: {from}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (stream, String::from_utf8_lossy(&status).into_owned())
}

#[tokio::test]
async fn silent_strangers_of_one_address_keep_no_agent_out() {
    const TAKEN: &str = "HTTP/1.1 101";
    const FULL: &str = "HTTP/1.1 503";
    let mut config = Config::for_tests();
    config.web.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let line = Line::open_with(config).await;
    let begin = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..16 {
        let (stream, status) = knock(&line, "198.51.100.1").await;
        assert_eq!(status, TAKEN);
        silent.push(stream);
    }
    assert_eq!(knock(&line, "198.51.100.1").await.1, FULL);
    let (_agent, status) = knock(&line, "198.51.100.2").await;
    assert_eq!(status, TAKEN);

    while line.server.app.attached.shaking_hands() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "they may not stay"
        );
    }
    assert_eq!(knock(&line, "198.51.100.1").await.1, TAKEN);
}
