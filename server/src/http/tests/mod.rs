//! Requests on the wire, as strangers and clients send them.

mod agents;
mod budgets;
mod cookies;
mod heads;
mod routes;
mod tls;
mod web;

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Listener, serve};
use crate::config::Config;
use crate::testing::{self, Server};

/// A server, and a client's connection to it.
pub(crate) struct Line {
    pub(crate) server: Server,
    address: std::net::SocketAddr,
}

impl Line {
    pub(crate) async fn open() -> Self {
        Self::open_with(Config::for_tests()).await
    }

    /// With deadlines that are soon over.
    pub(crate) async fn open_impatient() -> Self {
        let mut config = Config::for_tests();
        let limits = &mut config.connections;
        (limits.first_byte, limits.head, limits.body) = (SOON, SOON, SOON);
        Self::open_with(config).await
    }

    pub(crate) async fn open_with(config: Config) -> Self {
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
    pub(crate) async fn ask(&self, line: &str, fields: &str, body: &str) -> (u16, Value) {
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
    let hearing =
        async { while !goes_on(&said) && matches!(stream.read_buf(&mut said).await, Ok(1..)) {} };
    let ended = tokio::time::timeout(PATIENCE, hearing).await;
    ended.expect("the server closes the connection");
    String::from_utf8(said).unwrap()
}

/// A stream of events has begun, and does not end by itself.
fn goes_on(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    said.contains("text/event-stream") && said.contains("event: reload")
}

fn is_problem(said: &str, status: u16, code: &str) -> bool {
    said.starts_with(&format!("HTTP/1.1 {status} "))
        && said.contains("application/problem+json")
        && said.contains(&format!("\"code\":\"{code}\""))
        && said.to_ascii_lowercase().contains("connection: close")
}

/// A deadline that is waited for.
const SOON: Duration = Duration::from_millis(400);
/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);
