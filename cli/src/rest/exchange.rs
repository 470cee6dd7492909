//! One request, one answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use keyferry_sdk::tls::ServerTrust;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::connection::connect;
use super::{Address, CertificateFiles, Events, Opened, Problem, RestError};

/// A server, why it is trusted, and what it is shown.
pub struct Rest {
    address: Address,
    trust: ServerTrust,
    shown: Option<CertificateFiles>,
}

/// What is asked.
pub struct Ask<'a> {
    method: Method,
    path: &'a str,
    bearer: Option<&'a SecretString>,
    body: Option<Bytes>,
}

/// What the server answered.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; [`Value::Null`] when it is empty.
    pub body: Value,
    /// In how many seconds to ask again.
    pub retry_after: Option<u64>,
}

/// What reading an answer came to that is no JSON document.
pub enum Fetched {
    /// What it is.
    Bytes(Bytes),
    /// The server refuses.
    Refused(Problem),
}

impl Rest {
    /// Nothing is connected yet.
    pub fn new(address: Address, trust: ServerTrust) -> Self {
        Self {
            address,
            trust,
            shown: None,
        }
    }

    /// For a server that wants to be shown a certificate.
    #[must_use]
    pub fn showing(self, shown: Option<CertificateFiles>) -> Self {
        Self { shown, ..self }
    }

    /// The server.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Why it is trusted.
    pub fn trust(&self) -> &ServerTrust {
        &self.trust
    }

    /// What it is shown.
    pub fn shown(&self) -> Option<&CertificateFiles> {
        self.shown.as_ref()
    }

    /// How the command line names it.
    pub(crate) fn as_options(&self) -> String {
        match &self.trust {
            ServerTrust::Pinned(pin) => format!("--server {} --fingerprint {pin}", self.address),
            ServerTrust::System => format!("--server {}", self.address),
        }
    }

    /// Sends one request on a connection of its own, and reads its answer, whatever its status.
    pub async fn exchange(&self, ask: Ask<'_>) -> Result<Answer, RestError> {
        let exchange = Box::pin(self.exchange_unhurried(ask));
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| RestError::TimedOut)?
    }

    /// A line for many requests.
    pub async fn open(self) -> Result<Line, RestError> {
        let link = self.connect().await?;
        Ok(Line { rest: self, link })
    }

    /// Reads an answer that is no JSON document.
    pub async fn fetch(&self, ask: Ask<'_>) -> Result<Fetched, RestError> {
        let fetching = Box::pin(async {
            let request = ask.into_request(&self.address)?;
            let mut link = self.connect().await?;
            let response = link.sender.send_request(request).await?;
            if response.status().is_success() {
                return Ok(Fetched::Bytes(collect(response, MAX_FETCHED).await?));
            }
            let answer = read(response).await?;
            Ok(Fetched::Refused(Problem::of(&answer)))
        });
        tokio::time::timeout(PATIENCE, fetching)
            .await
            .map_err(|_| RestError::TimedOut)?
    }

    /// Opens a stream of events.
    pub async fn events(&self, ask: Ask<'_>) -> Result<Opened, RestError> {
        let opening = Box::pin(async {
            let request = ask.into_request(&self.address)?;
            let mut link = self.connect().await?;
            let response = link.sender.send_request(request).await?;
            if response.status().is_success() {
                return Ok(Opened::Events(Events::new(response, Held(link))));
            }
            let answer = read(response).await?;
            Ok(Opened::Refused(Problem::of(&answer)))
        });
        tokio::time::timeout(PATIENCE, opening)
            .await
            .map_err(|_| RestError::TimedOut)?
    }

    async fn connect(&self) -> Result<Link, RestError> {
        let stream = connect(self).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Link {
            sender,
            connection: tokio::spawn(connection),
        })
    }

    async fn exchange_unhurried(&self, ask: Ask<'_>) -> Result<Answer, RestError> {
        let request = ask.into_request(&self.address)?;
        self.connect().await?.send(request).await
    }
}

/// A line to a server: connected, and connected again when the server has closed it, as it does
/// after each request with a password or a key.
pub struct Line {
    rest: Rest,
    link: Link,
}

/// A connection that lives as long as this.
pub(super) struct Held(#[expect(dead_code, reason = "kept, since its drop ends it")] Link);

struct Link {
    sender: http1::SendRequest<Full<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Line {
    /// Waits until a request can be sent at once.
    pub async fn ready(&mut self) -> Result<(), RestError> {
        if self.link.sender.ready().await.is_err() {
            self.link = self.rest.connect().await?;
            self.link.sender.ready().await?;
        }
        Ok(())
    }

    /// Sends one request and reads its answer, whatever its status.
    pub async fn exchange(&mut self, ask: Ask<'_>) -> Result<Answer, RestError> {
        let request = ask.into_request(&self.rest.address)?;
        self.ready().await?;
        self.link.send(request).await
    }
}

impl Link {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, RestError> {
        read(self.sender.send_request(request).await?).await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl<'a> Ask<'a> {
    /// A request without a body.
    pub fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            bearer: None,
            body: None,
        }
    }

    /// With a token.
    #[must_use]
    pub fn signed_in(self, bearer: &'a SecretString) -> Self {
        Self {
            bearer: Some(bearer),
            ..self
        }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: Bytes) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    fn into_request(self, address: &Address) -> Result<Request<Full<Bytes>>, RestError> {
        let mut request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(header::HOST, address.authority())
            // Without a version, so that a newer program is no other device.
            .header(header::USER_AGENT, "keyferry")
            .header(header::ACCEPT, "application/json");
        if let Some(bearer) = self.bearer {
            let text = zeroize::Zeroizing::new(format!("Bearer {}", bearer.expose_secret()));
            let mut value = HeaderValue::try_from(text.as_str())
                .map_err(|error| RestError::Request(error.into()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if self.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        Ok(request.body(Full::new(self.body.unwrap_or_default()))?)
    }
}

impl Answer {
    /// The body of a success; everything else is a problem.
    pub fn success(self) -> Result<Value, Problem> {
        if self.status.is_success() {
            Ok(self.body)
        } else {
            Err(Problem::of(&self))
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, RestError> {
    let status = response.status();
    let wait = response.headers().get(header::RETRY_AFTER);
    let retry_after = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
    let bytes = collect(response, MAX_ANSWER).await?;
    let body = match &bytes[..] {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).map_err(|_| RestError::Answer)?,
    };
    Ok(Answer {
        status,
        body,
        retry_after,
    })
}

async fn collect(response: Response<Incoming>, most: usize) -> Result<Bytes, RestError> {
    let collected = Limited::new(response.into_body(), most).collect().await;
    Ok(collected.map_err(RestError::Body)?.to_bytes())
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 1 << 20;
/// A thousand events, each as long as an event can be.
const MAX_FETCHED: usize = 1 << 26;
