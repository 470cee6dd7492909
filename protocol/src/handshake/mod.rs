//! The handshake, as PROTOCOL.md §3 and §4 describe it: `Noise_XKpsk3_25519_AESGCM_SHA256` with
//! ML-KEM-768 mixed in through the pre-shared key.
//!
//! ```text
//!  agent                                                            server
//!  begin ──────── header, instance, e, es, {kind, cred_id, ek} ──────▶ receive
//!  AwaitReply ◀────────────── e, ee, {ct} ─────────────────────────── Offered::reply
//!  finish ─────────────── s, se, psk, {claims} ──────────────────────▶ AwaitProof::verify
//!  Channel ═════════════════════ transport ═════════════════════════ Channel
//! ```
//!
//! Every state is a type, and every step consumes the state it leaves, so an out-of-order message
//! does not compile.

pub mod agent;
mod claims;
mod hybrid;
pub mod schedule;
pub mod server;

use std::fmt;

pub use claims::Claims;

use crate::agreement::NotContributory;
use crate::ids::{CredentialId, InstanceId};
use crate::memory::MemoryError;

/// Which key agreements are mixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suite {
    /// X25519 alone. Off by default.
    Classical = 1,
    /// X25519 and ML-KEM-768: safe as long as either holds.
    Hybrid = 2,
}

impl Suite {
    /// The suite with this number on the wire.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Classical),
            2 => Some(Self::Hybrid),
            _ => None,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classical => "X25519",
            Self::Hybrid => "X25519+ML-KEM-768",
        })
    }
}

/// What an agent proves to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// A one-time ticket from a person.
    Ticket = 1,
    /// The credential that the last session handed over.
    Reattach = 2,
}

impl CredentialKind {
    fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Ticket),
            2 => Some(Self::Reattach),
            _ => None,
        }
    }
}

/// Which credential an agent offers; its secret never travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CredentialRef {
    /// Ticket or reattach credential.
    pub kind: CredentialKind,
    /// Its id.
    pub id: CredentialId,
}

/// Why a handshake ended. The peer is only ever told "handshake failed".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// A message of another length than the suite has.
    #[error("a handshake message has the wrong length")]
    Length,
    /// Not this protocol, or not this version.
    #[error("the peer speaks another protocol or another version of it")]
    Version,
    /// A suite that does not exist or is not accepted here.
    #[error("the peer asks for a suite that is not accepted here")]
    Suite,
    /// The peer sent a low-order point.
    #[error(transparent)]
    NotContributory(#[from] NotContributory),
    /// A message that does not open: changed on the way, or a peer without the right key.
    #[error(
        "a handshake message does not open: wrong key, wrong credential, or changed on the way"
    )]
    DoesNotOpen,
    /// An ML-KEM key or ciphertext that is none.
    #[error("the peer's ML-KEM share is malformed")]
    Encapsulation,
    /// A payload that opens and makes no sense.
    #[error("a handshake payload is malformed")]
    Payload,
    /// No locked memory left.
    #[error("no locked memory for a handshake")]
    Memory(#[from] MemoryError),
}

impl From<crate::aead::DoesNotOpen> for HandshakeError {
    fn from(_: crate::aead::DoesNotOpen) -> Self {
        Self::DoesNotOpen
    }
}

/// The clear start of the first message: what the prologue binds.
fn prologue(suite: Suite, instance: InstanceId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PROLOGUE_LABEL.len() + CLEAR);
    bytes.extend_from_slice(PROLOGUE_LABEL);
    bytes.extend_from_slice(&header(suite));
    bytes.extend_from_slice(&instance.0);
    bytes
}

fn header(suite: Suite) -> [u8; 4] {
    let [first, second] = MAGIC;
    [first, second, VERSION, suite as u8]
}

/// The version of the protocol, in each first message.
pub const VERSION: u8 = 1;
/// The longest handshake message in bytes; a longer one is refused unread.
pub const LONGEST: usize = CLEAR + 32 + 17 + hybrid::ENCAPSULATION_KEY + crate::aead::TAG;

const MAGIC: [u8; 2] = *b"KF";
const PROLOGUE_LABEL: &[u8] = b"keyferry-agent/1\0";
/// Header and instance id.
const CLEAR: usize = 4 + 16;
/// The pattern, as Noise names it.
const NAME: &[u8] = b"Noise_XKpsk3_25519_AESGCM_SHA256";

/// Token `e` sent; in a pattern with a pre-shared key it is mixed as well (Noise §9.2).
fn send_ephemeral(
    state: &mut schedule::SymmetricState,
    ephemeral: &crate::agreement::KeyPair,
    message: &mut Vec<u8>,
) -> Result<(), HandshakeError> {
    message.extend_from_slice(&ephemeral.public().0);
    receive_ephemeral(state, ephemeral.public())
}

/// Token `e` received.
fn receive_ephemeral(
    state: &mut schedule::SymmetricState,
    theirs: crate::agreement::PublicKey,
) -> Result<(), HandshakeError> {
    state.mix_hash(&theirs.0);
    state.mix_key(&theirs.0)
}
