//! A program that was given a token, and says to the agent's proxy whatever it likes.

use keyferry_sdk::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Agent;

/// This process, with a token for one key.
pub struct Raw {
    /// Where the proxy is.
    pub base: String,
    /// What stands for the key.
    pub token: String,
    _client: Client,
}

/// What the proxy answered.
#[derive(Debug)]
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    /// The code, if the proxy itself refuses.
    pub code: String,
    /// The head.
    pub head: String,
    /// The rest.
    pub body: String,
}

impl Raw {
    /// Asks the agent for a token.
    pub async fn of(agent: &Agent, key: &str) -> Self {
        let client = Client::connect_to(agent.socket()).await.unwrap();
        let lent = client.proxied(key).await.unwrap();
        Self {
            base: lent.base_url,
            token: lent.token,
            _client: client,
        }
    }

    /// A connection to the proxy.
    pub async fn connect(&self) -> TcpStream {
        let address = self.base.strip_prefix("http://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// `GET` of a path.
    pub async fn ask(&self, path: &str) -> RawAnswer {
        let token = &self.token;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {token}\r\nConnection: close\r\n\r\n"
        );
        self.say(&request).await
    }

    /// Says this, and hears everything until the proxy hangs up.
    pub async fn say(&self, request: &str) -> RawAnswer {
        RawAnswer::after(self.connect().await, request).await
    }
}

impl RawAnswer {
    /// What is answered to this on a connection.
    pub async fn after(mut stream: TcpStream, request: &str) -> Self {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        Self::split(&String::from_utf8_lossy(&answer))
    }

    /// The parts of an answer.
    pub fn split(answer: &str) -> Self {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let code = head
            .lines()
            .find_map(|line| line.strip_prefix("Keyferry-Error: "));
        Self {
            status,
            code: code.unwrap_or_default().to_owned(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Status and code.
    pub fn refused(&self) -> (u16, &str) {
        (self.status, &self.code)
    }
}
