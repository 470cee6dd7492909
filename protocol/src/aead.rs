//! AES-256-GCM between locked memory and sealed bytes.
//!
//! aws-lc-rs is the one implementation that was measured to leave no key behind once the caller
//! has scrubbed; the key schedule lives only for the one operation.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::memory::LockedBox;

/// Length of a key in bytes.
pub const KEY: usize = 32;
/// Length of the authentication tag in bytes.
pub const TAG: usize = 16;
/// Length of a nonce in bytes (RFC 5116 §5.2).
pub const NONCE: usize = NONCE_LEN;

/// A sealed message that was changed, cut, or sealed under another key, nonce or associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open")]
pub struct DoesNotOpen;

/// `AES-256-GCM(key, nonce, associated, plain)`; seals in place and gives the tag.
///
/// # Panics
/// When `key` is not 32 bytes.
#[must_use]
pub fn seal(key: &LockedBox, nonce: [u8; NONCE], associated: &[u8], plain: &mut [u8]) -> [u8; TAG] {
    let tag = schedule(key)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(associated),
            plain,
        )
        .expect("a message is shorter than AES-GCM's limit of 64 GiB");
    tag.as_ref().try_into().expect("a GCM tag is 16 bytes")
}

/// Opens `sealed` (ciphertext, then tag) into `plain`, which has room for exactly the ciphertext.
///
/// # Panics
/// When `key` is not 32 bytes.
pub fn open(
    key: &LockedBox,
    nonce: [u8; NONCE],
    associated: &[u8],
    sealed: &[u8],
    plain: &mut [u8],
) -> Result<(), DoesNotOpen> {
    let length = sealed.len().checked_sub(TAG).ok_or(DoesNotOpen)?;
    let (ciphertext, tag) = sealed.split_at_checked(length).ok_or(DoesNotOpen)?;
    if plain.len() != length {
        return Err(DoesNotOpen);
    }
    let opened = schedule(key).open_separate_gather(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(associated),
        ciphertext,
        tag,
        plain,
    );
    if opened.is_err() {
        zeroize::Zeroize::zeroize(plain);
    }
    opened.map_err(|_unspecified| DoesNotOpen)
}

fn schedule(key: &LockedBox) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key.expose()).expect("an AEAD key is 32 bytes");
    LessSafeKey::new(key)
}
