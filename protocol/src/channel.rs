//! The transport after the handshake: PROTOCOL.md §5.
//!
//! AES-256-GCM with a counter for a nonce, strictly ordered; whatever does not open ends the
//! session. Plaintext is only ever in locked memory.

use crate::aead::{self, TAG};
use crate::handshake::schedule::nonce;
use crate::memory::{Arena, LockedBox, MemoryError, scrub};

/// Which side of the handshake a channel belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The agent.
    Initiator,
    /// The server.
    Responder,
}

/// Both directions, right after the handshake.
pub struct Channel {
    sender: Sender,
    receiver: Receiver,
}

impl Channel {
    pub(crate) fn new(arena: Arena, sending: LockedBox, receiving: LockedBox) -> Self {
        Self {
            sender: Sender {
                key: sending,
                counter: 0,
            },
            receiver: Receiver {
                arena,
                key: receiving,
                counter: 0,
            },
        }
    }

    /// The two directions, each for its own task.
    #[must_use]
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

/// Why a message could not be sent or opened. The session is over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Changed on the way, out of order, repeated, or from somebody else.
    #[error("a message does not open: changed, repeated or out of order")]
    DoesNotOpen,
    /// Not a length that a message can have.
    #[error("a message of {0} bytes is none")]
    Length(usize),
    /// 2^20 messages under one key: time for a fresh handshake.
    #[error("the session has used up its messages")]
    UsedUp,
    /// No locked memory left.
    #[error("no locked memory for a message")]
    Memory(#[from] MemoryError),
}

/// Seals what this side says.
pub struct Sender {
    key: LockedBox,
    counter: u64,
}

impl Sender {
    /// Seals a padded plaintext in place, so that only sealed bytes leave locked memory.
    pub fn seal(&mut self, mut plain: LockedBox) -> Result<Vec<u8>, ChannelError> {
        if !is_padded(plain.len()) {
            return Err(ChannelError::Length(plain.len()));
        }
        let number = next(&mut self.counter)?;
        let tag = aead::seal(&self.key, nonce(number), &[], plain.expose_mut());
        scrub();
        let mut sealed = Vec::with_capacity(plain.len() + TAG);
        sealed.extend_from_slice(plain.expose());
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// How many messages this key has sealed.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counter
    }
}

/// Opens what the other side says.
pub struct Receiver {
    arena: Arena,
    key: LockedBox,
    counter: u64,
}

impl Receiver {
    /// Opens a message into locked memory.
    pub fn open(&mut self, sealed: &[u8]) -> Result<LockedBox, ChannelError> {
        let length = sealed.len().saturating_sub(TAG);
        if !is_padded(length) {
            return Err(ChannelError::Length(sealed.len()));
        }
        let mut plain = self.arena.take(length)?;
        let number = next(&mut self.counter)?;
        let opened = aead::open(&self.key, nonce(number), &[], sealed, plain.expose_mut());
        scrub();
        opened.map_err(|_changed| ChannelError::DoesNotOpen)?;
        Ok(plain)
    }

    /// Where the messages are opened into.
    #[must_use]
    pub fn arena(&self) -> &Arena {
        &self.arena
    }
}

fn next(counter: &mut u64) -> Result<u64, ChannelError> {
    let number = *counter;
    if number >= MESSAGES {
        return Err(ChannelError::UsedUp);
    }
    *counter += 1;
    Ok(number)
}

fn is_padded(length: usize) -> bool {
    (PADDING..=LONGEST).contains(&length) && length.is_multiple_of(PADDING)
}

/// Plaintexts are padded to a multiple of this many bytes.
pub const PADDING: usize = 256;
/// The longest plaintext in bytes.
pub const LONGEST: usize = 65_024;
/// The longest sealed message in bytes.
pub const LONGEST_SEALED: usize = LONGEST + TAG;
/// Messages under one key before a fresh handshake is due.
pub const MESSAGES: u64 = 1 << 20;
