//! Fernet tokens, as Python's `cryptography` makes them.
//!
//! ```text
//!  token = base64url(0x80 || time[8] || iv[16] || AES-128-CBC(key[16..32], iv, PKCS#7(value)) || mac[32])
//!  mac   = HMAC-SHA256(key[0..16], everything before it)
//! ```

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64ct::{Base64, Base64Url, Encoding};
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError, scrub};

/// The keys that tokens may have been made with; the newest first, as in `MultiFernet`.
pub(crate) struct FernetKeys(Vec<LockedBox>);

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FernetError {
    #[error("a Fernet key is 32 bytes in base64url; give one a line, the newest first")]
    Key,
    #[error("the value is no Fernet token")]
    Token,
    #[error("none of the Fernet keys opens the value")]
    DoesNotOpen,
    #[error("there is no locked memory for the value")]
    Memory(#[from] MemoryError),
}

impl FernetKeys {
    /// Reads one key a line.
    pub(crate) fn parse(text: &[u8], arena: &Arena) -> Result<Self, FernetError> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut keys = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let mut key = arena.take(32)?;
            let read = Base64Url::decode(line, key.expose_mut()).is_ok_and(|key| key.len() == 32);
            scrub();
            if !read {
                return Err(FernetError::Key);
            }
            keys.push(key);
        }
        (!keys.is_empty())
            .then_some(Self(keys))
            .ok_or(FernetError::Key)
    }

    /// Opens a token into locked memory.
    pub(crate) fn open(&self, text: &str, arena: &Arena) -> Result<LockedBox, FernetError> {
        let token = decode(text)?;
        let (signed, mac) = token.split_last_chunk::<32>().ok_or(FernetError::Token)?;
        let (head, ciphertext) = signed.split_first_chunk::<25>().ok_or(FernetError::Token)?;
        if head.first() != Some(&VERSION) || ciphertext.is_empty() {
            return Err(FernetError::Token);
        }
        let (_version_and_time, iv) = head.split_last_chunk::<16>().ok_or(FernetError::Token)?;
        for key in &self.0 {
            let (signing, encryption) = key.expose().split_at(16);
            let signing = hmac::Key::new(hmac::HMAC_SHA256, signing);
            if hmac::verify(&signing, signed, mac).is_ok() {
                let opened = decrypt(encryption, *iv, arena.hold(ciphertext)?);
                scrub();
                return opened;
            }
        }
        scrub();
        Err(FernetError::DoesNotOpen)
    }
}

/// A token, which some systems have encoded a second time.
fn decode(text: &str) -> Result<Vec<u8>, FernetError> {
    let text = text.trim();
    let once = |text: &str| Base64Url::decode_vec(text).map_err(|_| FernetError::Token);
    if !text.starts_with(TWICE) {
        return once(text);
    }
    let inner = Base64::decode_vec(text).or_else(|_| Base64Url::decode_vec(text));
    let inner = inner.map_err(|_| FernetError::Token)?;
    once(str::from_utf8(&inner).map_err(|_| FernetError::Token)?)
}

fn decrypt(key: &[u8], iv: [u8; 16], mut body: LockedBox) -> Result<LockedBox, FernetError> {
    let key = UnboundCipherKey::new(&AES_128, key).and_then(PaddedBlockDecryptingKey::cbc_pkcs7);
    let key = key.expect("16 bytes are an AES-128 key");
    let iv = DecryptionContext::Iv128(FixedLength::from(iv));
    let plain = key.decrypt(body.expose_mut(), iv);
    let length = plain.map_err(|_| FernetError::DoesNotOpen)?.len();
    body.truncate(length);
    Ok(body)
}

const VERSION: u8 = 0x80;
/// How a token begins that was encoded a second time.
const TWICE: &str = "Z0FBQUFB";

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::ProtectionLevel;

    use super::*;

    /// From the specification's `verify.json`.
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const TOKEN: &str = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";

    fn open(key: &str, token: &str) -> Result<Vec<u8>, FernetError> {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let keys = FernetKeys::parse(key.as_bytes(), &arena)?;
        Ok(keys.open(token, &arena)?.expose().to_vec())
    }

    #[test]
    fn the_token_of_the_specification_opens() {
        assert_eq!(open(KEY, TOKEN).unwrap(), b"hello");
        let rotated = format!("{}\n{KEY}\n", Base64Url::encode_string(&[7; 32]));
        assert_eq!(open(&rotated, TOKEN).unwrap(), b"hello");
        let twice = Base64::encode_string(TOKEN.as_bytes());
        assert_eq!(open(KEY, &twice).unwrap(), b"hello");
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let token = Base64Url::decode_vec(TOKEN).unwrap();
        for place in 0..token.len() {
            let mut changed = token.clone();
            changed[place] ^= 1;
            assert!(
                open(KEY, &Base64Url::encode_string(&changed)).is_err(),
                "{place}"
            );
        }
        for end in 0..token.len() {
            assert!(
                open(KEY, &Base64Url::encode_string(&token[..end])).is_err(),
                "{end}"
            );
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        for text in ["", "short", "not base64!"] {
            assert!(matches!(open(text, TOKEN), Err(FernetError::Key)));
        }
        let other = Base64Url::encode_string(&[7; 32]);
        assert!(matches!(open(&other, TOKEN), Err(FernetError::DoesNotOpen)));
    }
}
