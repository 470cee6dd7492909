//! An authenticator app.
#![expect(
    clippy::disallowed_methods,
    reason = "an authenticator app shows the codes of this moment"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;

/// What an authenticator app shows at this moment (RFC 6238).
pub fn code_now(secret: &str) -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let step = (seconds.as_secs() / 30).to_be_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &base32(secret));
    let tag = hmac::sign(&key, &step);
    let at = usize::from(tag.as_ref()[19] & 15);
    let word = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap());
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

fn base32(text: &str) -> Vec<u8> {
    let digits = text.chars().map(|letter| match letter {
        'A'..='Z' => u32::from(letter) - u32::from('A'),
        other => other.to_digit(10).unwrap() + 24,
    });
    let bits: String = digits.map(|digit| format!("{digit:05b}")).collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    bytes
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}
