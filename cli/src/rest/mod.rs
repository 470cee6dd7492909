//! The server's REST surface (`docs/REST.md`), over TLS that trusts a pin or the system's roots.

mod address;
mod certificate_files;
mod connection;
mod events;
mod exchange;
mod first_contact;
mod problem;

pub(crate) use address::segment;
pub use address::{Address, AddressError};
pub use certificate_files::CertificateFiles;
pub use events::{Event, Events, Opened};
pub use exchange::{Answer, Ask, Fetched, Line, Rest};
pub use first_contact::observed_pin;
pub use problem::Problem;

/// Why a request got no usable answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestError {
    /// No connection.
    #[error("no connection; is the server running and the address right?")]
    Connect(#[source] std::io::Error),
    /// TLS failed.
    #[error("no TLS connection")]
    Tls(#[source] std::io::Error),
    /// The server is not the one that was trusted.
    #[error("the server's certificate is not the trusted one; somebody may be in between")]
    OtherServer,
    /// TLS cannot be set up here.
    #[error("no TLS")]
    Setup(#[from] keyferry_sdk::tls::TlsError),
    /// The certificate for the server cannot be used.
    #[error("the client certificate cannot be shown")]
    Certificate(#[source] Box<keyferry_sdk::ClientCertificateError>),
    /// HTTP failed.
    #[error("the connection broke")]
    Http(#[from] hyper::Error),
    /// The request cannot be built.
    #[error("the request cannot be sent")]
    Request(#[from] hyper::http::Error),
    /// The answer is too long or breaks off.
    #[error("the answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is not what the protocol says.
    #[error("the answer is not understood; is this a Keyferry server?")]
    Answer,
    /// Nothing came.
    #[error("no answer in {} seconds", exchange::PATIENCE.as_secs())]
    TimedOut,
}
