//! The Keyferry agent protocol and the locked memory that its secrets live in.
//!
//! No I/O and no clock: bytes come in, bytes go out, and randomness is handed in. The wire is
//! described to the byte in `docs/PROTOCOL.md`, whose sections the modules cite.

pub mod aead;
pub mod agreement;
pub mod approval;
pub mod channel;
pub mod handshake;
pub mod ids;
pub mod local;
#[expect(
    unsafe_code,
    reason = "the one place of this crate that talks to the kernel about memory"
)]
pub mod memory;
pub mod sealed;
pub mod ticket;
pub mod wire;
