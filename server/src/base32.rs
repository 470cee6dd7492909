//! Base32 (RFC 4648 §6) without padding, as authenticator apps and people read it.

use zeroize::Zeroizing;

/// The bytes as text.
pub(crate) fn encode(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len().div_ceil(5) * 8));
    for group in bytes.chunks(5) {
        let mut word = [0; 8];
        for (place, byte) in word.iter_mut().skip(3).zip(group) {
            *place = *byte;
        }
        let word = u64::from_be_bytes(word);
        for letter in 0..(group.len() * 8).div_ceil(5) {
            let digit = usize::try_from((word >> (35 - 5 * letter)) & 31).unwrap_or(0);
            text.extend(LETTERS.get(digit).map(|letter| char::from(*letter)));
        }
    }
    text
}

/// The bytes of a text in its one canonical form, in upper or lower case.
pub(crate) fn decode<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    if text.len() != (N * 8).div_ceil(5) {
        return None;
    }
    let mut bytes = Zeroizing::new([0; N]);
    let (mut word, mut bits, mut filled) = (0_u32, 0, 0);
    for letter in text.bytes() {
        let letter = letter.to_ascii_uppercase();
        let digit = LETTERS.iter().position(|known| *known == letter)?;
        word = (word << 5) | u32::try_from(digit).ok()?;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            *bytes.get_mut(filled)? = u8::try_from(word >> bits).ok()?;
            filled += 1;
            word &= (1 << bits) - 1;
        }
    }
    (word == 0).then_some(bytes)
}

const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode, encode};

    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        for (plain, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foob", "MZXW6YQ"),
            ("fooba", "MZXW6YTB"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(*encode(plain.as_bytes()), text);
        }
    }

    #[test]
    fn a_text_that_is_not_canonical_is_refused() {
        assert!(decode::<2>("MZXQ").is_some());
        for wrong in ["MZXR", "MZX", "MZXQA", "MZX=", "MZX1", "MZ Q"] {
            assert!(decode::<2>(wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes: [u8; 36]) {
            prop_assert_eq!(*decode(&encode(&bytes)).unwrap(), bytes);
            prop_assert_eq!(*decode(&encode(&bytes).to_lowercase()).unwrap(), bytes);
        }
    }
}
