//! One master key by itself.

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};
use keyferry_protocol::agreement::hkdf;
use keyferry_protocol::memory::{Arena, LockedBox, MemoryError, scrub};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// 32 bytes in locked memory.
pub(crate) struct RootKey {
    key: LockedBox,
    arena: Arena,
    id: [u8; 16],
}

impl RootKey {
    /// A fresh key.
    pub(crate) fn random(arena: &Arena, rng: &mut impl CryptoRng) -> Result<Self, MemoryError> {
        Ok(Self::new(arena.random(32, rng)?, arena))
    }

    /// A key that was opened or derived.
    pub(super) fn new(key: LockedBox, arena: &Arena) -> Self {
        let mut id = [0; 16];
        hkdf(b"", key.expose(), b"keyferry master key id/1", &mut id);
        scrub();
        Self {
            key,
            arena: arena.clone(),
            id,
        }
    }

    /// 32 bytes in either base64 alphabet, padded or not; `None` when the text is none.
    pub(crate) fn decode(text: &[u8], arena: &Arena) -> Result<Option<Self>, MemoryError> {
        let mut key = arena.take(32)?;
        let text = text.trim_ascii();
        let decoders: [Decoder; 4] = [
            |text, key| Base64::decode(text, key).is_ok_and(|key| key.len() == 32),
            |text, key| Base64Unpadded::decode(text, key).is_ok_and(|key| key.len() == 32),
            |text, key| Base64Url::decode(text, key).is_ok_and(|key| key.len() == 32),
            |text, key| Base64UrlUnpadded::decode(text, key).is_ok_and(|key| key.len() == 32),
        ];
        let decoded = decoders.iter().any(|decode| decode(text, key.expose_mut()));
        scrub();
        Ok(decoded.then(|| Self::new(key, arena)))
    }

    /// The key as it is written into a file.
    pub(crate) fn print(&self) -> Zeroizing<[u8; 44]> {
        let mut text = Zeroizing::new([0; 44]);
        Base64::encode(self.key.expose(), &mut *text).expect("44 characters hold 32 bytes");
        scrub();
        text
    }

    /// Which key this is; tells nothing about it.
    pub(crate) const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The id as the database keeps it.
    pub(crate) fn printed_id(&self) -> String {
        print_id(&self.id)
    }

    /// `HKDF-SHA256(salt, master key, info)`.
    pub(crate) fn derive(&self, salt: &[u8], info: &[u8]) -> Result<LockedBox, MemoryError> {
        let mut derived = self.arena.take(32)?;
        hkdf(salt, self.key.expose(), info, derived.expose_mut());
        Ok(derived)
    }

    pub(in crate::vault) const fn arena(&self) -> &Arena {
        &self.arena
    }

    /// A copy in locked memory, to be sealed under another key.
    pub(super) fn copy(&self) -> Result<LockedBox, MemoryError> {
        self.arena.hold(self.key.expose())
    }
}

pub(super) fn print_id(id: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(id)
}

type Decoder = fn(&[u8], &mut [u8]) -> bool;

#[cfg(test)]
mod tests {
    use keyferry_protocol::memory::ProtectionLevel;

    use super::*;

    #[test]
    fn either_base64_alphabet_is_read_padded_or_not() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        let bytes = [0xfb; 32];
        let texts = [
            Base64::encode_string(&bytes),
            Base64Unpadded::encode_string(&bytes),
            Base64Url::encode_string(&bytes),
            format!("{}\n", Base64UrlUnpadded::encode_string(&bytes)),
        ];
        for text in texts {
            let key = RootKey::decode(text.as_bytes(), &arena).unwrap().unwrap();
            assert_eq!(key.print()[..], *Base64::encode_string(&bytes).as_bytes());
        }
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        let arena = Arena::new(ProtectionLevel::Mlock).unwrap();
        for text in [
            "",
            "c2hvcnQ=",
            "not base64!",
            &Base64::encode_string(&[1; 33]),
        ] {
            let decoded = RootKey::decode(text.as_bytes(), &arena).unwrap();
            assert!(decoded.is_none(), "{text}");
        }
    }
}
