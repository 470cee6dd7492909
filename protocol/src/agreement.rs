//! X25519 (RFC 7748) and HKDF-SHA256 (RFC 5869) with every secret in locked memory.
//!
//! Both leave their inputs on the stack: whoever calls them scrubs when its own step is done.

use hkdf::Hkdf;
use sha2::Sha256;
use x25519_dalek::StaticSecret;

use crate::memory::{Arena, LockedBox, MemoryError};

/// An X25519 public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; 32]);

/// The peer's public key contributes nothing: a low-order point (RFC 7748 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer's key share contributes nothing")]
pub struct NotContributory;

/// An X25519 key pair; the private half is in locked memory.
pub struct KeyPair {
    private: LockedBox,
    public: PublicKey,
}

impl KeyPair {
    /// A fresh pair.
    pub fn generate(
        arena: &Arena,
        rng: &mut (impl rand_core::CryptoRng + ?Sized),
    ) -> Result<Self, MemoryError> {
        Ok(Self::from_private(arena.random(32, rng)?))
    }

    /// The pair of this private key.
    ///
    /// # Panics
    /// When it is not 32 bytes.
    #[must_use]
    pub fn from_private(private: LockedBox) -> Self {
        let public = x25519_dalek::PublicKey::from(&scalar(&private)).to_bytes();
        crate::memory::scrub();
        Self {
            private,
            public: PublicKey(public),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The private half, for the server to seal under its master key.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.private.expose()
    }

    /// `X25519(private, peer)` into 32 bytes of `shared`; refused when it is all zero.
    ///
    /// # Panics
    /// When `shared` is not 32 bytes.
    pub fn agree(&self, peer: PublicKey, shared: &mut [u8]) -> Result<(), NotContributory> {
        let secret = scalar(&self.private).diffie_hellman(&x25519_dalek::PublicKey::from(peer.0));
        if !secret.was_contributory() {
            return Err(NotContributory);
        }
        shared.copy_from_slice(secret.as_bytes());
        Ok(())
    }
}

/// `HKDF-SHA256(salt, ikm, info, L = out.len())`.
///
/// # Panics
/// When `out` is longer than 255 blocks of SHA-256.
pub fn hkdf(salt: &[u8], ikm: &[u8], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand(info, out)
        .expect("at most 255 blocks are asked of HKDF");
}

/// Only the extraction of HKDF: `HMAC-SHA256(salt, ikm)`.
pub(crate) fn hkdf_extract(salt: &[u8], ikm: &[u8], out: &mut [u8]) {
    let (mut key, _state) = Hkdf::<Sha256>::extract(Some(salt), ikm);
    out.copy_from_slice(&key);
    zeroize::Zeroize::zeroize(key.as_mut_slice());
}

/// Only the expansion of HKDF from an extracted key.
pub(crate) fn hkdf_expand(extracted: &[u8], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::from_prk(extracted)
        .expect("an extracted key is 32 bytes")
        .expand(info, out)
        .expect("at most 255 blocks are asked of HKDF");
}

fn scalar(private: &LockedBox) -> StaticSecret {
    let mut bytes: zeroize::Zeroizing<[u8; 32]> = zeroize::Zeroizing::default();
    bytes.copy_from_slice(private.expose());
    StaticSecret::from(*bytes)
}
