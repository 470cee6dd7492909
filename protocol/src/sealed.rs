//! Sealing to a party that is offline: HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256),
//! HKDF-SHA256, AES-256-GCM, one message. PROTOCOL.md §8.
//!
//! Composed from this crate's primitives so that the plaintext and every key stay in locked
//! memory; any HPKE library can open what is sealed here.

use crate::aead::{self, NONCE, TAG};
use crate::agreement::{KeyPair, NotContributory, PublicKey, hkdf_expand, hkdf_extract};
use crate::ids::KeyName;
use crate::memory::{Arena, LockedBox, MemoryError, scrub};

/// Why sealed bytes did not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// The encapsulated key contributes nothing.
    #[error(transparent)]
    NotContributory(#[from] NotContributory),
    /// Sealed for another key or purpose, or changed on the way.
    #[error("the sealed bytes do not open: sealed for another key or purpose, or changed")]
    DoesNotOpen,
    /// No locked memory left.
    #[error("no locked memory to seal or open")]
    Memory(#[from] MemoryError),
}

/// `enc[32] || ciphertext || tag[16]`, for the owner of the private half of `to` alone.
pub fn seal(
    arena: &Arena,
    rng: &mut (impl rand_core::CryptoRng + ?Sized),
    to: PublicKey,
    info: &[u8],
    plain: &LockedBox,
) -> Result<Vec<u8>, SealedError> {
    let ephemeral = KeyPair::generate(arena, rng)?;
    let sealed = seal_with(arena, &ephemeral, to, (info, plain));
    scrub();
    sealed
}

/// Opens what [`seal`] made, into locked memory.
pub fn open(
    arena: &Arena,
    own: &KeyPair,
    info: &[u8],
    sealed: &[u8],
) -> Result<LockedBox, SealedError> {
    let opened = open_with(arena, own, info, sealed);
    scrub();
    opened
}

/// The `info` of a value sealed for `PUT /keys/{name}` or its rotation.
#[must_use]
pub fn put_info(user: [u8; 16], name: &KeyName, version: u32) -> Vec<u8> {
    bound(PUT, (user, name, version))
}

/// The `info` of a value sealed to the public key that a login sends.
#[must_use]
pub fn login_info(user: [u8; 16], name: &KeyName, version: u32) -> Vec<u8> {
    bound(LOGIN, (user, name, version))
}

fn bound(purpose: &[u8], (user, name, version): ([u8; 16], &KeyName, u32)) -> Vec<u8> {
    let version = version.to_be_bytes();
    [purpose, &user, &version, name.as_str().as_bytes()].concat()
}

fn seal_with(
    arena: &Arena,
    ephemeral: &KeyPair,
    to: PublicKey,
    (info, plain): (&[u8], &LockedBox),
) -> Result<Vec<u8>, SealedError> {
    let shared = shared_secret(arena, (ephemeral, to), ephemeral.public(), to)?;
    let context = Context::new(arena, &shared, info)?;
    let mut body = arena.hold(plain.expose())?;
    let tag = aead::seal(&context.key, context.nonce, &[], body.expose_mut());
    Ok([&ephemeral.public().0[..], body.expose(), &tag].concat())
}

fn open_with(
    arena: &Arena,
    own: &KeyPair,
    info: &[u8],
    sealed: &[u8],
) -> Result<LockedBox, SealedError> {
    let (encapsulated, body) = sealed.split_first_chunk().ok_or(SealedError::DoesNotOpen)?;
    let length = body
        .len()
        .checked_sub(TAG)
        .ok_or(SealedError::DoesNotOpen)?;
    let encapsulated = PublicKey(*encapsulated);
    let shared = shared_secret(arena, (own, encapsulated), encapsulated, own.public())?;
    let context = Context::new(arena, &shared, info)?;
    let mut plain = arena.take(length)?;
    aead::open(&context.key, context.nonce, &[], body, plain.expose_mut())
        .map_err(|_changed| SealedError::DoesNotOpen)?;
    Ok(plain)
}

/// RFC 9180 §4.1: `ExtractAndExpand(DH, enc || pkR)`.
fn shared_secret(
    arena: &Arena,
    (own, peer): (&KeyPair, PublicKey),
    encapsulated: PublicKey,
    recipient: PublicKey,
) -> Result<LockedBox, SealedError> {
    let mut agreed = arena.take(32)?;
    own.agree(peer, agreed.expose_mut())?;
    let extracted = labeled_extract(arena, KEM_SUITE, b"eae_prk", &agreed)?;
    let context = [encapsulated.0, recipient.0].concat();
    let mut shared = arena.take(32)?;
    labeled_expand(
        &extracted,
        KEM_SUITE,
        (b"shared_secret", &context),
        shared.expose_mut(),
    );
    Ok(shared)
}

/// The key and nonce of the one message: RFC 9180 §5.1, mode base.
struct Context {
    key: LockedBox,
    nonce: [u8; NONCE],
}

impl Context {
    fn new(arena: &Arena, shared: &LockedBox, info: &[u8]) -> Result<Self, MemoryError> {
        let mut id_hash = [0; 32];
        labeled_extract_public(b"psk_id_hash", b"", &mut id_hash);
        let mut info_hash = [0; 32];
        labeled_extract_public(b"info_hash", info, &mut info_hash);
        let context = [&[MODE_BASE][..], &id_hash, &info_hash].concat();

        let label = [VERSION, HPKE_SUITE, b"secret"].concat();
        let mut secret = arena.take(32)?;
        hkdf_extract(shared.expose(), &label, secret.expose_mut());
        let mut key = arena.take(32)?;
        labeled_expand(&secret, HPKE_SUITE, (b"key", &context), key.expose_mut());
        let mut nonce = [0; NONCE];
        labeled_expand(&secret, HPKE_SUITE, (b"base_nonce", &context), &mut nonce);
        Ok(Self { key, nonce })
    }
}

/// `Extract("", "HPKE-v1" || suite || label || ikm)`.
fn labeled_extract(
    arena: &Arena,
    suite: &[u8],
    label: &[u8],
    ikm: &LockedBox,
) -> Result<LockedBox, MemoryError> {
    let before = VERSION.len() + suite.len() + label.len();
    let mut labeled = arena.take(before + ikm.len())?;
    let parts = VERSION.iter().chain(suite).chain(label).chain(ikm.expose());
    labeled
        .expose_mut()
        .iter_mut()
        .zip(parts)
        .for_each(|(to, from)| *to = *from);
    let mut extracted = arena.take(32)?;
    hkdf_extract(&[], labeled.expose(), extracted.expose_mut());
    Ok(extracted)
}

/// The same for input that is not secret.
fn labeled_extract_public(label: &[u8], ikm: &[u8], out: &mut [u8; 32]) {
    hkdf_extract(&[], &[VERSION, HPKE_SUITE, label, ikm].concat(), out);
}

/// `Expand(prk, I2OSP(L, 2) || "HPKE-v1" || suite || label || info, L)`.
fn labeled_expand(
    extracted: &LockedBox,
    suite: &[u8],
    (label, info): (&[u8], &[u8]),
    out: &mut [u8],
) {
    let length = u16::try_from(out.len()).expect("HPKE expands to a few dozen bytes");
    let info = [&length.to_be_bytes()[..], VERSION, suite, label, info].concat();
    hkdf_expand(extracted.expose(), &info, out);
}

const PUT: &[u8] = b"keyferry put/1\0";
const LOGIN: &[u8] = b"keyferry login/1\0";
const VERSION: &[u8] = b"HPKE-v1";
/// `"KEM" || I2OSP(kem_id, 2)`: DHKEM(X25519, HKDF-SHA256).
const KEM_SUITE: &[u8] = b"KEM\x00\x20";
/// `"HPKE" || kem_id || kdf_id || aead_id`: with HKDF-SHA256 and AES-256-GCM.
const HPKE_SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x02";
const MODE_BASE: u8 = 0;

/// What sealing adds to a plaintext, in bytes.
pub const OVERHEAD: usize = 32 + TAG;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::ProtectionLevel;

    fn unhex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 9180 A.1.1: the KEM of that suite is ours.
    #[test]
    fn the_shared_secret_is_that_of_the_rfc() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let pair = |private: &str| KeyPair::from_private(arena.hold(&unhex(private)).unwrap());
        let ephemeral = pair("52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736");
        let recipient = pair("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8");
        let expected = unhex("fe0e18c9f024ce43799ae393c7e8fe8fce9d218875e8227b0187c04e7d2ea1fc");
        let (enc, to) = (ephemeral.public(), recipient.public());
        let sender = shared_secret(&arena, (&ephemeral, to), enc, to).unwrap();
        let receiver = shared_secret(&arena, (&recipient, enc), enc, to).unwrap();
        assert_eq!(sender.expose(), expected);
        assert_eq!(receiver.expose(), expected);
    }
}
