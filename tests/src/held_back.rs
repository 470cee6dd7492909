//! A client that keeps the body of its request back until it likes to send it.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{RawAnswer, Server};

/// A request whose head was read, and whose body the server waits for.
pub struct HeldBack {
    stream: TcpStream,
    body: String,
}

impl HeldBack {
    /// Sends the head, with more fields, to a server that speaks plain HTTP.
    pub async fn begin(server: &Server, (line, fields): (&str, &str), body: &Value) -> Self {
        let body = body.to_string();
        let stream = server.connect();
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream).unwrap();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{fields}\
             Content-Type: application/json\r\nContent-Length: {}\r\n\
             Expect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut heard = vec![0; GO_ON.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), GO_ON);
        Self { stream, body }
    }

    /// Sends the body, and hears the answer.
    pub async fn finish(self) -> RawAnswer {
        RawAnswer::after(self.stream, &self.body).await
    }

    /// Sends the body, and does not wait for the answer.
    pub async fn hang_up(mut self) {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
    }
}

/// The server asks for a body when somebody in it begins to read it.
const GO_ON: &str = "HTTP/1.1 100 Continue\r\n\r\n";
