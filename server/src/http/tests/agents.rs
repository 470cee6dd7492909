//! Who stands at the agents' gate and says nothing keeps nobody else out.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Line, PATIENCE, SOON};
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

/// A server that waits so long for an agent's first word.
async fn open(first_word: Duration) -> Line {
    let mut config = Config::for_tests();
    config.web.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    config.connections.agents_first_word = first_word;
    Line::open_with(config).await
}

#[tokio::test]
async fn silent_strangers_of_one_address_keep_no_agent_of_another_out() {
    let line = open(Duration::MAX).await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        let (stream, status) = knock(&line, "198.51.100.1").await;
        assert_eq!(status, TAKEN);
        silent.push(stream);
    }
    assert_eq!(knock(&line, "198.51.100.1").await.1, FULL);
    assert_eq!(knock(&line, "198.51.100.2").await.1, TAKEN);
}

#[tokio::test]
async fn silent_strangers_may_not_stay() {
    let line = open(SOON).await;
    let (mut silent, status) = knock(&line, "198.51.100.1").await;
    assert_eq!(status, TAKEN);
    let cut_off = async {
        silent.read_to_end(&mut Vec::new()).await.unwrap();
        while line.server.app.attached.shaking_hands() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, cut_off).await.unwrap();
}

const TAKEN: &str = "HTTP/1.1 101";
const FULL: &str = "HTTP/1.1 503";
