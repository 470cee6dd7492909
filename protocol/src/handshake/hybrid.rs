//! ML-KEM-768 (FIPS 203) and how its shared secret becomes Noise's pre-shared key: PROTOCOL.md §4.

use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use sha2::{Digest, Sha256};

use super::{CredentialRef, HandshakeError};
use crate::agreement::hkdf;
use crate::memory::{Arena, LockedBox};

/// The agent's half: an ephemeral decapsulation key and the encapsulation key that is sent.
///
/// The decapsulation key is in aws-lc's own memory, which is wiped when freed; it lives for one
/// handshake.
pub(super) struct Offer {
    decapsulation_key: DecapsulationKey,
    pub(super) encapsulation_key: Vec<u8>,
}

impl Offer {
    pub(super) fn generate() -> Result<Self, HandshakeError> {
        let decapsulation_key = DecapsulationKey::generate(&ML_KEM_768)
            .map_err(|_unspecified| HandshakeError::Encapsulation)?;
        let encapsulation_key = decapsulation_key
            .encapsulation_key()
            .and_then(|key| key.key_bytes())
            .map_err(|_unspecified| HandshakeError::Encapsulation)?
            .as_ref()
            .to_vec();
        Ok(Self {
            decapsulation_key,
            encapsulation_key,
        })
    }

    /// The agent's side of the pre-shared key.
    pub(super) fn open(&self, ciphertext: &[u8]) -> Result<Mixed<'_>, HandshakeError> {
        let shared = self
            .decapsulation_key
            .decapsulate(Ciphertext::from(ciphertext))
            .map_err(|_unspecified| HandshakeError::Encapsulation)?;
        Ok(Mixed {
            shared,
            share_hash: hash(&self.encapsulation_key, ciphertext),
            _offer: self,
        })
    }
}

/// The agent's shared secret, until the credential is mixed in.
pub(super) struct Mixed<'a> {
    shared: aws_lc_rs::kem::SharedSecret,
    share_hash: [u8; 32],
    _offer: &'a Offer,
}

impl Mixed<'_> {
    pub(super) fn with(
        self,
        arena: &Arena,
        credential: CredentialRef,
        secret: &LockedBox,
    ) -> Result<LockedBox, HandshakeError> {
        pre_shared_key(
            arena,
            self.shared.as_ref(),
            &self.share_hash,
            (credential, secret),
        )
    }
}

/// The server's side: the ciphertext to send, and the shared secret with the hash of both shares.
pub(super) struct Encapsulated {
    pub(super) ciphertext: Vec<u8>,
    shared: LockedBox,
    share_hash: [u8; 32],
}

impl Encapsulated {
    pub(super) fn to(arena: &Arena, encapsulation_key: &[u8]) -> Result<Self, HandshakeError> {
        let (ciphertext, shared) = EncapsulationKey::new(&ML_KEM_768, encapsulation_key)
            .map_err(|_rejected| HandshakeError::Encapsulation)?
            .encapsulate()
            .map_err(|_unspecified| HandshakeError::Encapsulation)?;
        let ciphertext = ciphertext.as_ref().to_vec();
        let share_hash = hash(encapsulation_key, &ciphertext);
        Ok(Self {
            shared: arena.hold(shared.as_ref())?,
            ciphertext,
            share_hash,
        })
    }

    pub(super) fn with(
        &self,
        arena: &Arena,
        credential: CredentialRef,
        secret: &LockedBox,
    ) -> Result<LockedBox, HandshakeError> {
        pre_shared_key(
            arena,
            self.shared.expose(),
            &self.share_hash,
            (credential, secret),
        )
    }
}

/// `HKDF-SHA256(salt = "keyferry-agent/1 psk3", ikm = ss_mlkem || cred_secret,
/// info = kind || cred_id || SHA-256(ek || ct), L = 32)`; classical: both shares empty.
pub(super) fn pre_shared_key(
    arena: &Arena,
    shared: &[u8],
    share_hash: &[u8; 32],
    (credential, secret): (CredentialRef, &LockedBox),
) -> Result<LockedBox, HandshakeError> {
    let mut ikm = arena.take(shared.len() + secret.len())?;
    let (first, second) = ikm.expose_mut().split_at_mut(shared.len());
    first.copy_from_slice(shared);
    second.copy_from_slice(secret.expose());
    let info = [&[credential.kind as u8][..], &credential.id.0, share_hash].concat();
    let mut key = arena.take(32)?;
    hkdf(PSK_SALT, ikm.expose(), &info, key.expose_mut());
    Ok(key)
}

/// `SHA-256(ek || ct)`.
pub(super) fn hash(encapsulation_key: &[u8], ciphertext: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(encapsulation_key)
        .chain_update(ciphertext)
        .finalize()
        .into()
}

const PSK_SALT: &[u8] = b"keyferry-agent/1 psk3";
pub(super) const ENCAPSULATION_KEY: usize = 1184;
pub(super) const CIPHERTEXT: usize = 1088;
