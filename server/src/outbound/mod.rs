//! Requests that the server itself sends, to services that its operator named.

mod client;
mod trust;
mod url;

use bytes::Bytes;
use hyper::Response;

pub(crate) use client::Client;
pub(crate) use trust::Trust;
pub(crate) use url::{Url, escaped};

/// What a service answered, whole in memory.
pub(crate) type Answer = Response<Bytes>;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboundError {
    /// The address cannot be used.
    #[error("`{0}` is no https:// address, nor an http:// one of this machine")]
    Url(String),
    /// The certificate authority cannot be used.
    #[error("the certificate authorities cannot be read: {0}")]
    Authorities(String),
    /// No connection.
    #[error("no connection")]
    Connect(#[source] std::io::Error),
    /// TLS or HTTP failed.
    #[error("the exchange broke off")]
    Http(#[from] hyper::Error),
    /// The request cannot be written.
    #[error("the request cannot be written")]
    Request(#[from] hyper::http::Error),
    /// The answer is too long or breaks off.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing came in time.
    #[error("no answer in time")]
    TimedOut,
}
