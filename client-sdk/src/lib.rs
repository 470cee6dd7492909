//! Reads API keys from the Keyferry agent without a copy, and follows their rotation.
//!
//! In `Cargo.toml`, with the address of the repository that you have this from:
//!
//! ```toml
//! [dependencies]
//! keyferry-sdk = { git = "https://git.example.org/keyferry.git" }
//! tokio = { version = "1", features = ["macros", "rt"] }
//! ```
//!
//! A whole program: it opens a key, uses it, and follows it until it is revoked.
//!
//! ```no_run
//! use keyferry_sdk::{Client, Error, PageState};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Error> {
//!     let client = Client::connect().await?; // the agent of this machine
//!     let key = client.key("openai").await?;
//!     let mut changes = key.watch();
//!     loop {
//!         match key.expose(use_it) {
//!             Ok(()) => {}
//!             // Each error says what to do; `code()` is for programs.
//!             Err(Error::Revoked | Error::LeaseOver) => eprintln!("the key is gone for now"),
//!             Err(error) => return Err(error),
//!         }
//!         let change = changes.changed().await?; // rotated, revoked, or back after an outage
//!         if change.state == PageState::Revoked {
//!             return Ok(());
//!         }
//!     }
//! }
//!
//! /// The bytes are only lent: they are wiped when this returns.
//! fn use_it(key: &[u8]) {
//!     assert!(!key.is_empty());
//! }
//! ```
//!
//! The same without `async`, and with an HTTP client that speaks the types of the `http` crate, such
//! as hyper or reqwest ([`blocking`]):
//!
//! ```no_run
//! use keyferry_sdk::blocking::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect()?;
//! let key = client.key("openai")?;
//! let request = hyper::Request::get("https://api.openai.com/v1/models")
//!     .header("authorization", key.bearer()?) // marked sensitive; made anew for each request
//!     .body(())?;
//! // Or without ever having the key: the agent puts it in place of the token.
//! let openai = client.proxied("openai")?;
//! let request = hyper::Request::get(format!("{}/v1/models", openai.base_url))
//!     .header("authorization", format!("Bearer {}", openai.token))
//!     .body(())?;
//! # drop(request);
//! # Ok(())
//! # }
//! ```
//!
//! `client-sdk/examples` has more: `minimal.rs`, `tool.rs` and `direct.rs`.
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
pub mod lease;
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
