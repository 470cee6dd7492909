//! The proxy: a tool calls it with a token, and it calls the provider with the key.
//!
//! ```text
//!  tool ── Authorization: Bearer kfp_… ──▶ 127.0.0.1 ── Authorization: Bearer sk-… ──▶ the key's host
//!      ◀──────────── the provider's bytes, as they come, nothing changed ────────────
//! ```
//!
//! The head of a request is put together in locked memory and written into TLS after its handshake.
//! Everything else is passed on in pieces as small as they come.

mod address;
mod body;
mod caller;
mod destination;
mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod head;
mod health;
mod http2;
mod listen;
mod one;
mod outward;
mod refusal;
mod request;
mod response;
mod token;

pub(crate) use destination::Aim;
pub use listen::{Bound, bind, listen};
pub use outward::{Outward, OutwardError};
pub(crate) use refusal::Refused;
pub use token::{Holder, Lent, Loan, TokenId, Tokens};
