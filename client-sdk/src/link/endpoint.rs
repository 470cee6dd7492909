//! Where a server is and why it is trusted; and plain requests to it, for what comes before a
//! session.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Bytes;

use super::{LinkError, ServerUrl, Transport};
use crate::ClientCertificate;
use crate::tls::{ServerTrust, TlsError, client_config};

/// A server at its URL. TLS is set up when the URL wants it.
#[derive(Clone)]
pub struct Endpoint {
    /// Where it is.
    pub url: ServerUrl,
    tls: Option<Arc<ClientConfig>>,
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
        let tls = if url.is_tls() {
            Some(Arc::new(client_config(trust, shown)?))
        } else {
            None
        };
        Ok(Self { url, tls })
    }

    /// `GET` of a path, on a connection of its own.
    pub async fn get(&self, path: &str) -> Result<Answer, LinkError> {
        let request = self.request(Method::GET, path);
        self.exchange(request.body(Full::default())).await
    }

    /// `POST` of JSON without a secret, on a connection of its own.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, LinkError> {
        let request = self.request(Method::POST, path);
        let request = request.header(CONTENT_TYPE, "application/json");
        self.exchange(request.body(Full::from(body.to_string())))
            .await
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Transport>, LinkError> {
        let url = &self.url;
        let tcp = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(LinkError::Unreachable)?;
        tcp.set_nodelay(true).map_err(LinkError::Unreachable)?;
        let Some(config) = &self.tls else {
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

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.path()))
            .header(HOST, self.url.authority())
            .header(ACCEPT, "application/json")
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
        let body = serde_json::from_slice(&body.to_bytes())
            .map_err(|_| LinkError::Protocol("an answer that is not JSON"))?;
        Ok(Answer { status, body })
    }
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
