//! One request, one answer: a deadline over all of it, a bound on the answer, no redirects.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Answer, OutboundError, Trust, Url};

/// Asks services; clones share what it trusts.
#[derive(Clone)]
pub(crate) struct Client(Arc<Trust>);

impl Client {
    /// Trusts the system's authorities, or instead of them the ones in a file.
    pub(crate) fn new(authorities: Option<&Path>) -> Result<Self, OutboundError> {
        Trust::instead(authorities).map(Arc::new).map(Self)
    }

    /// Sends a request whose method and fields the builder has, and reads the answer.
    pub(crate) async fn send(
        &self,
        url: &Url,
        request: Builder,
        body: Bytes,
    ) -> Result<Answer, OutboundError> {
        let request = request.uri(url.target()).header(HOST, url.authority());
        let request = request.body(Full::new(body))?;
        let exchange = Box::pin(self.exchange(url, request));
        timeout(PATIENCE, exchange)
            .await
            .map_err(|_| OutboundError::TimedOut)?
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, OutboundError> {
        let stream = TcpStream::connect((url.host(), url.port()))
            .await
            .map_err(OutboundError::Connect)?;
        if !url.is_tls() {
            return converse(stream, request).await;
        }
        let name = ServerName::try_from(url.host().to_owned());
        let name = name.map_err(|_| OutboundError::Url(url.text()))?;
        let stream = self.0.connector().connect(name, stream).await;
        converse(stream.map_err(OutboundError::Connect)?, request).await
    }
}

async fn converse<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let running = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await;
    running.abort();
    let body = body.map_err(OutboundError::Body)?.to_bytes();
    Ok(Response::from_parts(head, body))
}

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 256 * 1024;
