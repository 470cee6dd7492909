//! Reads API keys from the Keyferry agent without a copy, and follows their rotation.
//!
//! ```no_run
//! # async fn example() -> Result<(), keyferry_sdk::Error> {
//! let client = keyferry_sdk::Client::connect().await?;
//! let key = client.key("openai").await?;
//! key.expose(|bytes| { /* use the key */ })?;
//! # Ok(())
//! # }
//! ```
//!
//! Where no agent runs, [`Client::direct`] speaks to the server itself, by a ticket:
//!
//! ```no_run
//! # async fn example(ticket: &[u8]) -> Result<(), keyferry_sdk::Error> {
//! let client = keyferry_sdk::Client::direct(ticket).await?;
//! let authorization = client.key("openai").await?.bearer()?; // for hyper, reqwest, ...
//! # Ok(())
//! # }
//! ```
//!
//! A person's login or a service API key does as well ([`Client::direct_as`]).
//!
//! The key lives in a page that the agent shares with this process. A rotated key appears in it, a
//! revoked one is zeroed in it, and [`KeyHandle::expose`] makes no system call.

#![forbid(unsafe_code)]

mod agent_socket;
pub mod blocking;
mod client;
mod client_certificate;
mod direct;
mod error;
mod key;
pub mod link;
pub mod status;
pub mod tls;

pub use client::{Client, DEFAULT_SOCKET, Proxied};
pub use client_certificate::{ClientCertificate, ClientCertificateError};
pub use direct::Login;
pub use error::Error;
pub use key::{Change, KeyHandle, Watch};
pub use keyferry_protocol::local::RefusalCode;
pub use keyferry_protocol::memory::{PageState, WipingAllocator, scrub};
