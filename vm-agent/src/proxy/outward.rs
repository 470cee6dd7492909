//! Connections to the hosts: TLS, always.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyferry_protocol::memory::Arena;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::{debug, warn};

use super::destination::Destination;
use super::refusal::Refused;
use crate::config::ProxyConfig;

/// What it takes to get to a host.
pub struct Outward {
    any: TlsConnector,
    one: TlsConnector,
    private: Vec<String>,
    /// Whether a request goes on without its key.
    pub(super) finish_streams: bool,
    /// Heads with keys are put together here.
    pub(super) arena: Arena,
}

/// What a request can be said in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tongue {
    /// HTTP/2, or HTTP/1.1 where the host has nothing better.
    Any,
    /// HTTP/1.1 only.
    One,
}

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutwardError {
    /// The file of `[proxy] ca_file` holds no certificate.
    #[error("[proxy] ca_file: {} holds no usable certificate", .0.display())]
    Authority(PathBuf),
    /// The TLS library refuses the configuration.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl Outward {
    /// Trusts this system's roots, and those of the settings.
    pub fn new(config: &ProxyConfig, arena: Arena) -> Result<Self, OutwardError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut one = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots(config)?)
            .with_no_client_auth();
        one.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut any = one.clone();
        any.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self {
            any: TlsConnector::from(Arc::new(any)),
            one: TlsConnector::from(Arc::new(one)),
            private: config.allow_private.clone(),
            finish_streams: config.finish_streams,
            arena,
        })
    }

    /// A connection whose handshake is done, so that what is written is encrypted at once.
    pub(super) async fn connect(
        &self,
        destination: &Destination,
        tongue: Tongue,
    ) -> Result<TlsStream<TcpStream>, Refused> {
        let tls = match tongue {
            Tongue::Any => &self.any,
            Tongue::One => &self.one,
        };
        let attempt = async {
            let addresses = destination.resolve(&self.private).await?;
            let stream = TcpStream::connect(addresses.as_slice())
                .await
                .map_err(|_| Refused::Unreachable)?;
            stream.set_nodelay(true).map_err(|_| Refused::Unreachable)?;
            let name = ServerName::try_from(destination.host.clone());
            let name = name.map_err(|_no_name| Refused::NotResolved)?;
            tls.connect(name, stream).await.map_err(untrusted)
        };
        timeout(TO_CONNECT, attempt)
            .await
            .map_err(|_elapsed| Refused::Unreachable)?
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn untrusted(error: io::Error) -> Refused {
    debug!(%error, "no TLS with a host");
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            Refused::OnlyHttp2
        }
        _ => Refused::Untrusted,
    }
}

fn roots(config: &ProxyConfig) -> Result<RootCertStore, OutwardError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &config.ca_file {
        let unusable = || OutwardError::Authority(path.clone());
        let file = CertificateDer::pem_file_iter(path).map_err(|_unreadable| unusable())?;
        let mut added = 0;
        for certificate in file {
            let certificate = certificate.map_err(|_malformed| unusable())?;
            roots.add(certificate).map_err(|_malformed| unusable())?;
            added += 1;
        }
        if added == 0 {
            return Err(unusable());
        }
    }
    if roots.is_empty() {
        warn!("this system has no root certificates: the proxy trusts no host");
    }
    Ok(roots)
}

const TO_CONNECT: Duration = Duration::from_secs(15);
