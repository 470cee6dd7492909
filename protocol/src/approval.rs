//! Enrolment by approval: what a person compares, and what the ticket is bound to. PROTOCOL.md §12.

use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::agreement::PublicKey;

/// The code that an agent shows and a person types: twelve letters, `BCDF-GHJK-LMNP`.
///
/// It commits to the keys of both sides. Who sits between them and puts in keys of his own makes
/// the two ends show different codes, or has to find one of 2^51 nonces in ten minutes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCode(String);

/// A text that is no code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a code is twelve letters, such as BCDF-GHJK-LMNP")]
pub struct BadUserCode;

impl UserCode {
    /// `SHA-256("keyferry approve/1\0" || A || S || nonce)` in twelve letters of twenty.
    #[must_use]
    pub fn of(agent: PublicKey, server: PublicKey, nonce: &[u8; 16]) -> Self {
        let digest = Sha256::new()
            .chain_update(CODE)
            .chain_update(agent.0)
            .chain_update(server.0)
            .chain_update(nonce)
            .finalize();
        let mut number = digest
            .iter()
            .take(16)
            .fold(0, |number: u128, byte| (number << 8) | u128::from(*byte));
        let mut letters = String::with_capacity(LENGTH);
        for _ in 0..LENGTH {
            let digit = usize::try_from(number % LETTERS.len() as u128).unwrap_or(0);
            letters.extend(LETTERS.get(digit).map(|letter| char::from(*letter)));
            number /= LETTERS.len() as u128;
        }
        Self(letters)
    }

    /// The twelve letters alone.
    #[must_use]
    pub fn letters(&self) -> &str {
        &self.0
    }
}

/// In capitals or not, with hyphens or spaces wherever a person puts them.
impl FromStr for UserCode {
    type Err = BadUserCode;

    fn from_str(text: &str) -> Result<Self, BadUserCode> {
        let letters: String = text
            .chars()
            .filter(|letter| !matches!(letter, '-' | ' '))
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        let known = letters.bytes().all(|letter| LETTERS.contains(&letter));
        (known && letters.len() == LENGTH)
            .then_some(Self(letters))
            .ok_or(BadUserCode)
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, rest) = self.0.split_at(4);
        let (second, third) = rest.split_at(4);
        write!(f, "{first}-{second}-{third}")
    }
}

/// What names an agent's key to people: `sha256:` and 43 characters.
#[must_use]
pub fn fingerprint(agent: PublicKey) -> String {
    let mut text = [0; 43];
    let text = Base64UrlUnpadded::encode(&Sha256::digest(agent.0), &mut text);
    format!("sha256:{}", text.expect("32 bytes are 43 characters"))
}

/// The `info` of the ticket that is sealed (HPKE) to the agent's key.
#[must_use]
pub fn ticket_info(agent: PublicKey) -> Vec<u8> {
    [TICKET, &agent.0].concat()
}

const CODE: &[u8] = b"keyferry approve/1\0";
const TICKET: &[u8] = b"keyferry approved ticket/1\0";
/// RFC 8628 §6.1: no vowels, so that no words arise, and nothing that is mistaken for another.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: PublicKey = PublicKey([1; 32]);
    const SERVER: PublicKey = PublicKey([2; 32]);

    #[test]
    fn a_code_is_read_as_people_write_it() {
        let code = UserCode::of(AGENT, SERVER, &[3; 16]);
        let shown = code.to_string();
        assert_eq!(shown.len(), 14);
        assert_eq!(shown.parse(), Ok(code.clone()));
        assert_eq!(
            shown.to_lowercase().replace('-', " ").parse(),
            Ok(code.clone())
        );
        assert_eq!(code.letters().parse(), Ok(code));
    }

    #[test]
    fn a_code_commits_to_both_keys_and_the_nonce() {
        let code = UserCode::of(AGENT, SERVER, &[3; 16]);
        assert_ne!(code, UserCode::of(PublicKey([9; 32]), SERVER, &[3; 16]));
        assert_ne!(code, UserCode::of(AGENT, PublicKey([9; 32]), &[3; 16]));
        assert_ne!(code, UserCode::of(AGENT, SERVER, &[9; 16]));
        assert_ne!(code, UserCode::of(SERVER, AGENT, &[3; 16]));
    }

    #[test]
    fn other_texts_are_no_codes() {
        for text in [
            "",
            "BCDF-GHJK-LMN",
            "BCDF-GHJK-LMNPQ",
            "AAAA-AAAA-AAAA",
            "BCDF-GHJK-LMN1",
        ] {
            assert_eq!(text.parse::<UserCode>(), Err(BadUserCode), "{text}");
        }
    }

    #[test]
    fn a_fingerprint_names_one_key() {
        assert_eq!(fingerprint(AGENT).len(), 7 + 43);
        assert_ne!(fingerprint(AGENT), fingerprint(SERVER));
    }
}
