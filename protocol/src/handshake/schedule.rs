//! Noise's symmetric state (revision 34, §5.2) for 25519, AESGCM and SHA256, in locked memory.
//!
//! General over patterns, so that published vectors of all of them can be run against it; the
//! shipped handshake fixes one.

use sha2::{Digest, Sha256};

use super::HandshakeError;
use crate::aead::{self, NONCE, TAG};
use crate::agreement::{KeyPair, PublicKey, hkdf};
use crate::channel::{Channel, Role};
use crate::memory::{Arena, LockedBox};

/// Chaining key, message key and transcript of one handshake.
pub struct SymmetricState {
    arena: Arena,
    chaining_key: LockedBox,
    key: Option<LockedBox>,
    counter: u64,
    transcript: [u8; 32],
}

impl SymmetricState {
    /// `InitializeSymmetric(name)`, then `MixHash(prologue)`.
    pub fn new(arena: &Arena, name: &[u8], prologue: &[u8]) -> Result<Self, HandshakeError> {
        let mut transcript = [0; 32];
        match transcript.get_mut(..name.len()) {
            Some(start) => start.copy_from_slice(name),
            None => transcript = Sha256::digest(name).into(),
        }
        let mut state = Self {
            arena: arena.clone(),
            chaining_key: arena.hold(&transcript)?,
            key: None,
            counter: 0,
            transcript,
        };
        state.mix_hash(prologue);
        Ok(state)
    }

    /// `h = SHA-256(h || data)`.
    pub fn mix_hash(&mut self, data: &[u8]) {
        self.transcript = Sha256::new()
            .chain_update(self.transcript)
            .chain_update(data)
            .finalize()
            .into();
    }

    /// `ck, k = HKDF(ck, ikm, 2)`.
    pub fn mix_key(&mut self, ikm: &[u8]) -> Result<(), HandshakeError> {
        let mut output = self.arena.take(64)?;
        hkdf(self.chaining_key.expose(), ikm, &[], output.expose_mut());
        let (chaining_key, key) = output.expose().split_at(32);
        self.chaining_key.expose_mut().copy_from_slice(chaining_key);
        self.key = Some(self.arena.hold(key)?);
        self.counter = 0;
        Ok(())
    }

    /// `ck, temp_h, k = HKDF(ck, psk, 3); MixHash(temp_h)`.
    pub fn mix_key_and_hash(&mut self, psk: &LockedBox) -> Result<(), HandshakeError> {
        let mut output = self.arena.take(96)?;
        hkdf(
            self.chaining_key.expose(),
            psk.expose(),
            &[],
            output.expose_mut(),
        );
        let (chaining_key, rest) = output.expose().split_at(32);
        let (hash, key) = rest.split_at(32);
        self.chaining_key.expose_mut().copy_from_slice(chaining_key);
        self.mix_hash(hash);
        self.key = Some(self.arena.hold(key)?);
        self.counter = 0;
        Ok(())
    }

    /// `MixKey(DH(own, peer))`.
    pub fn mix_agreement(&mut self, own: &KeyPair, peer: PublicKey) -> Result<(), HandshakeError> {
        let mut shared = self.arena.take(32)?;
        own.agree(peer, shared.expose_mut())?;
        self.mix_key(shared.expose())
    }

    /// `EncryptAndHash(plain)`, appended to `message`. Handshake payloads hold nothing secret.
    pub fn encrypt_and_hash(&mut self, plain: &[u8], message: &mut Vec<u8>) {
        let start = message.len();
        message.extend_from_slice(plain);
        if let Some(key) = &self.key {
            let body = message.get_mut(start..).expect("the message only grew");
            let tag = aead::seal(key, nonce(self.counter), &self.transcript, body);
            message.extend_from_slice(&tag);
            self.counter += 1;
        }
        let sealed = message.get(start..).expect("the message only grew");
        self.transcript = Sha256::new()
            .chain_update(self.transcript)
            .chain_update(sealed)
            .finalize()
            .into();
    }

    /// `DecryptAndHash(sealed)`.
    pub fn decrypt_and_hash(&mut self, sealed: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let plain = match &self.key {
            None => sealed.to_vec(),
            Some(key) => {
                let length = sealed
                    .len()
                    .checked_sub(TAG)
                    .ok_or(HandshakeError::Length)?;
                let mut plain = vec![0; length];
                aead::open(
                    key,
                    nonce(self.counter),
                    &self.transcript,
                    sealed,
                    &mut plain,
                )?;
                self.counter += 1;
                plain
            }
        };
        self.mix_hash(sealed);
        Ok(plain)
    }

    /// The hash of everything said so far; the same on both sides.
    #[must_use]
    pub fn transcript(&self) -> [u8; 32] {
        self.transcript
    }

    /// `Split()`, as a channel of this side.
    pub fn split(self, role: Role) -> Result<Channel, HandshakeError> {
        let arena = self.arena.clone();
        let [first, second] = self.split_keys()?;
        Ok(match role {
            Role::Initiator => Channel::new(arena, first, second),
            Role::Responder => Channel::new(arena, second, first),
        })
    }

    /// `Split()`: `k1, k2 = HKDF(ck, "", 2)`, the initiator's sending key first.
    pub fn split_keys(self) -> Result<[LockedBox; 2], HandshakeError> {
        let mut output = self.arena.take(64)?;
        hkdf(self.chaining_key.expose(), &[], &[], output.expose_mut());
        let (first, second) = output.expose().split_at(32);
        Ok([self.arena.hold(first)?, self.arena.hold(second)?])
    }
}

/// Noise §12.4: 32 zero bits, then the counter, big-endian.
pub(crate) fn nonce(counter: u64) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    nonce
        .iter_mut()
        .skip(4)
        .zip(counter.to_be_bytes())
        .for_each(|(to, from)| *to = from);
    nonce
}
