//! The API keys of people's programs: `kf_` and the base32, in lower case, of 32 random bytes and
//! their CRC-32, by which a scanner tells one from other text.

use rand_core::Rng;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::base32;

/// A service API key.
pub(crate) struct ServiceKey(Zeroizing<[u8; 32]>);

impl ServiceKey {
    pub(crate) fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *bytes);
        Self(bytes)
    }

    /// The key that `text` shows, when it has the one form and its checksum.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let encoded = text.strip_prefix(PREFIX)?;
        if encoded.bytes().any(|letter| letter.is_ascii_uppercase()) {
            return None;
        }
        let all = base32::decode::<36>(encoded)?;
        let (bytes, checksum) = all.split_first_chunk::<32>()?;
        let key = Self(Zeroizing::new(*bytes));
        (crc32(&*key.0).to_be_bytes() == checksum).then_some(key)
    }

    /// What its owner is given, once.
    pub(crate) fn text(&self) -> Zeroizing<String> {
        let mut all = Zeroizing::new([0; 36]);
        let checksum = crc32(&*self.0).to_be_bytes();
        for (place, byte) in all.iter_mut().zip(self.0.iter().chain(&checksum)) {
            *place = *byte;
        }
        let mut text = base32::encode(&*all);
        text.make_ascii_lowercase();
        Zeroizing::new([PREFIX, text.as_str()].concat())
    }

    /// What the database knows of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(*self.0).into()
    }
}

/// CRC-32 as in IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |rest: u32| (rest >> 1) ^ (0xEDB8_8320 & (rest & 1).wrapping_neg());
    let after = bytes.iter().fold(u32::MAX, |rest, byte| {
        (0..8).fold(rest ^ u32::from(*byte), |rest, _| step(rest))
    });
    !after
}

const PREFIX: &str = "kf_";

#[cfg(test)]
mod tests {
    use getrandom::SysRng;
    use rand_core::UnwrapErr;

    use super::{ServiceKey, crc32};

    #[test]
    fn the_checksum_is_the_usual_crc() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_key_has_one_form_and_a_checksum() {
        let key = ServiceKey::random(&mut UnwrapErr(SysRng));
        let text = key.text();
        assert_eq!(text.len(), 61);
        assert_eq!(ServiceKey::parse(&text).unwrap().hash(), key.hash());
        assert!(ServiceKey::parse(&text.to_uppercase()).is_none());
        for place in 3..text.len() {
            let mut wrong = text.as_bytes().to_vec();
            wrong[place] = if wrong[place] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(ServiceKey::parse(&wrong).is_none(), "place {place}");
        }
    }
}
