//! A value that never existed before, so that every copy of it is a leak.

use memscan::{Matcher, Sentinel};
use sha2::{Digest, Sha256};

/// A random key of a provider.
pub struct Secret(String);

impl Secret {
    /// 48 characters, of which 44 are random; the last is a digit, as passwords need one.
    pub fn fresh() -> Self {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789AB";
        let mut random = [0; 44];
        getrandom::fill(&mut random).unwrap();
        let letters = random
            .iter()
            .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)));
        Self(
            "sk-"
                .chars()
                .chain(letters.map(|letter| char::from(*letter)))
                .chain(['7'])
                .collect(),
        )
    }

    /// The value.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What a tool tells of it.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.0)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// What scans look for.
    pub fn sentinel(&self, name: &str) -> Sentinel {
        Sentinel {
            name: name.to_owned(),
            bytes: self.0.clone().into_bytes(),
        }
    }

    /// Looks for several secrets, down to fragments of eight bytes.
    pub fn matcher(secrets: &[&Self]) -> Matcher {
        let named = |(number, secret): (usize, &&Self)| secret.sentinel(&format!("key {number}"));
        let sentinels: Vec<Sentinel> = secrets.iter().enumerate().map(named).collect();
        Matcher::new(&sentinels, 8)
    }
}
