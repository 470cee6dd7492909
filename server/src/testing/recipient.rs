//! A client that keys are sealed to, with another library than the server's.

use base64ct::{Base64UrlUnpadded, Encoding};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, Serializable};
use serde_json::Value;

use crate::store::UserId;

/// A key pair for one login.
pub(crate) struct Recipient {
    private: <X25519HkdfSha256 as Kem>::PrivateKey,
    /// As a login sends it.
    pub(crate) public_key: String,
}

impl Recipient {
    pub(crate) fn new() -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(&[7; 32]);
        Self {
            private,
            public_key: Base64UrlUnpadded::encode_string(&public.to_bytes()),
        }
    }

    /// The value of the first version of `openai`, out of the answer to this user's login.
    pub(crate) fn openai_in(&self, user: UserId, answer: &Value) -> Vec<u8> {
        let sealed = &answer["encrypted_api_keys"]["openai"]["sealed"];
        let sealed = Base64UrlUnpadded::decode_vec(sealed.as_str().unwrap()).unwrap();
        let (enc, body) = sealed.split_at(32);
        let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).unwrap();
        let user = user.bytes();
        let info = [&b"keyferry login/1\0"[..], &user, &[0, 0, 0, 1], b"openai"].concat();
        let mode = OpModeR::Base;
        hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &mode,
            &self.private,
            &enc,
            &info,
            body,
            b"",
        )
        .unwrap()
    }
}
