//! What several test files need: an arena, randomness, hex.

#![expect(
    clippy::allow_attributes,
    reason = "some of the files that include this use all of it"
)]

use getrandom::SysRng;
use keyferry_protocol::memory::{Arena, ProtectionLevel};
use rand_core::UnwrapErr;

pub(crate) fn arena() -> Arena {
    Arena::new(ProtectionLevel::Mlock).expect("tests may lock memory")
}

#[allow(dead_code, reason = "vectors need no randomness")]
pub(crate) fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}

#[allow(dead_code, reason = "only vectors are written in hex")]
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| str::from_utf8(pair).expect("hex is ASCII"))
        .map(|pair| u8::from_str_radix(pair, 16).expect("two hex digits"))
        .collect()
}
