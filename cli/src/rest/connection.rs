//! A connection to the server: TCP, and TLS on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use keyferry_sdk::tls::client_config;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Address, CertificateFiles, Rest, RestError};

/// A byte stream to the server.
pub(crate) enum Connection {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects, and accepts nobody but the trusted server.
pub(crate) async fn connect(rest: &Rest) -> Result<Connection, RestError> {
    let address = rest.address();
    if !address.is_encrypted() {
        return tcp(address).await.map(Connection::Plain);
    }
    let shown = rest.shown().map(CertificateFiles::read).transpose()?;
    let config = client_config(rest.trust(), shown.as_ref())?;
    let stream = tls(address, config).await?;
    Ok(Connection::Tls(Box::new(stream)))
}

pub(crate) async fn tls(
    address: &Address,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, RestError> {
    let name = ServerName::try_from(address.host().to_owned()).map_err(|_| RestError::Answer)?;
    let connector = TlsConnector::from(Arc::new(config));
    connector
        .connect(name, tcp(address).await?)
        .await
        .map_err(|error| {
            if is_about_the_certificate(&error) {
                RestError::OtherServer
            } else {
                RestError::Tls(error)
            }
        })
}

async fn tcp(address: &Address) -> Result<TcpStream, RestError> {
    let stream = TcpStream::connect((address.host(), address.port())).await;
    let stream = stream.map_err(RestError::Connect)?;
    stream.set_nodelay(true).map_err(RestError::Connect)?;
    Ok(stream)
}

fn is_about_the_certificate(error: &io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(
        cause,
        Some(rustls::Error::InvalidCertificate(reason)) if *reason != CertificateError::BadEncoding
    )
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
