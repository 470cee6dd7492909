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
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Answer, OutboundError, Url};

/// Asks services; clones share what it trusts.
#[derive(Clone)]
pub(crate) struct Client(TlsConnector);

impl Client {
    /// Trusts the system's authorities, or instead of them the ones in a file.
    pub(crate) fn new(authorities: Option<&Path>) -> Result<Self, OutboundError> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_root_certificates(roots(authorities)?)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
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
        let stream = self.0.connect(name, stream).await;
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

fn roots(authorities: Option<&Path>) -> Result<RootCertStore, OutboundError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            let unreadable = |cause: &dyn std::fmt::Display| {
                OutboundError::Authorities(format!("{}: {cause}", path.display()))
            };
            let found = CertificateDer::pem_file_iter(path).map_err(|cause| unreadable(&cause))?;
            for certificate in found {
                let certificate = certificate.map_err(|cause| unreadable(&cause))?;
                roots.add(certificate).map_err(|cause| unreadable(&cause))?;
            }
        }
        // A system without any fails when it first meets a certificate.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

const PATIENCE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 256 * 1024;
