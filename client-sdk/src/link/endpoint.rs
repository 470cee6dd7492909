//! Where a server is and why it is trusted; and plain requests to it, for what comes before a
//! session.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Bytes;
use zeroize::Zeroizing;

use super::{LinkError, ServerUrl, Transport};
use crate::ClientCertificate;
use crate::tls::{ServerTrust, TlsError, client_config};

/// A server at its URL. TLS is set up when the URL wants it.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it is.
    pub url: ServerUrl,
    way: Way,
    shown: Option<ClientCertificate>,
}

#[derive(Clone)]
enum Way {
    Plain,
    Tls(Arc<ClientConfig>),
    Other(Dial),
}

/// Opens connections in a way of its own: through a tunnel, or within one process.
pub type Dial = Arc<dyn Fn() -> Dialled + Send + Sync>;

/// A connection to be.
pub type Dialled = Pin<Box<dyn Future<Output = io::Result<Box<dyn Transport>>> + Send>>;

/// A plain request to a server.
pub(crate) struct Ask<'a> {
    method: Method,
    path: &'a str,
    bearer: Option<&'a SecretString>,
    body: Bytes,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self {
            method,
            path,
            bearer: None,
            body: Bytes::new(),
        }
    }

    pub(crate) fn post(path: &'a str) -> Self {
        Self::new(Method::POST, path)
    }

    /// Who asks.
    pub(crate) fn by(mut self, bearer: &'a SecretString) -> Self {
        self.bearer = Some(bearer);
        self
    }

    /// With JSON in which nothing is secret.
    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = Bytes::from(body.to_string());
        self
    }

    /// With JSON that is wiped when it is sent.
    pub(crate) fn secret(mut self, body: Zeroizing<Vec<u8>>) -> Self {
        self.body = Bytes::from_owner(body);
        self
    }
}

/// What a server answered to a plain request.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Endpoint {
    /// A server that is trusted for this reason, and shown this certificate if it asks for one.
    pub fn new(
        url: ServerUrl,
        trust: &ServerTrust,
        shown: Option<&ClientCertificate>,
    ) -> Result<Self, TlsError> {
        let way = if url.is_tls() {
            Way::Tls(Arc::new(client_config(trust, shown)?))
        } else {
            Way::Plain
        };
        let shown = shown.cloned();
        Ok(Self { url, way, shown })
    }

    /// What the server is shown if it asks for a certificate.
    pub(crate) fn shown(&self) -> Option<&ClientCertificate> {
        self.shown.as_ref()
    }

    /// A server that is reached by `dial`, whatever its URL. No TLS is added: a session is sealed
    /// without it, plain requests are not.
    pub fn dialled(url: ServerUrl, dial: Dial) -> Self {
        Self {
            url,
            way: Way::Other(dial),
            shown: None,
        }
    }

    /// `GET` of a path, on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<Answer, LinkError> {
        self.ask(Ask::new(Method::GET, path)).await
    }

    /// `POST` of JSON without a secret, on a connection of its own.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, LinkError> {
        self.ask(Ask::post(path).json(body)).await
    }

    /// One request, on a connection of its own.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, LinkError> {
        let mut request = Request::builder()
            .method(ask.method)
            .uri(format!("{}{}", self.url.path(), ask.path))
            .header(HOST, self.url.authority())
            .header(ACCEPT, "application/json");
        if let Some(bearer) = ask.bearer {
            request = request.header(AUTHORIZATION, authorization(bearer)?);
        }
        if !ask.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        self.exchange(request.body(Full::new(ask.body))).await
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Transport>, LinkError> {
        let url = &self.url;
        if let Way::Other(dial) = &self.way {
            return dial().await.map_err(LinkError::Unreachable);
        }
        let tcp = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(LinkError::Unreachable)?;
        tcp.set_nodelay(true).map_err(LinkError::Unreachable)?;
        let Way::Tls(config) = &self.way else {
            return Ok(Box::new(tcp));
        };
        let name = ServerName::try_from(url.host().to_owned())
            .map_err(|_| LinkError::Protocol("the URL's host can be in no certificate"))?;
        let connector = TlsConnector::from(Arc::clone(config));
        let tls = connector
            .connect(name, tcp)
            .await
            .map_err(LinkError::Unreachable)?;
        Ok(Box::new(tls))
    }

    async fn exchange(
        &self,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Answer, LinkError> {
        let request = request.map_err(|_| LinkError::Protocol("a URL that cannot be asked"))?;
        timeout(PATIENCE, self.exchange_unhurried(request))
            .await
            .map_err(|_elapsed| LinkError::TimedOut)?
    }

    async fn exchange_unhurried(&self, request: Request<Full<Bytes>>) -> Result<Answer, LinkError> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(LinkError::Http)?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await;
        let response = response.map_err(LinkError::Http)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        connection.abort();
        let body = body.map_err(|_| LinkError::Protocol("an answer that does not end"))?;
        let body = body.to_bytes();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body)
                .map_err(|_| LinkError::Protocol("an answer that is not JSON"))?
        };
        Ok(Answer { status, body })
    }
}

fn authorization(bearer: &SecretString) -> Result<HeaderValue, LinkError> {
    let text = Zeroizing::new(format!("Bearer {}", bearer.expose_secret()));
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| LinkError::Protocol("a token that can be in no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Answer {
    /// A text of the answer.
    pub fn text(&self, member: &str) -> Option<&str> {
        self.body.get(member)?.as_str()
    }

    /// The code of a problem.
    pub fn code(&self) -> &str {
        self.text("code").unwrap_or("unknown")
    }

    /// Whether it went well.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: usize = 64 * 1024;
