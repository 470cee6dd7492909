//! The keys that sign access tokens, sealed under the master key in the database.

use aws_lc_rs::hmac;
use base64ct::{Base64UrlUnpadded, Encoding};
use josekit::jwk::alg::ed::EdKeyPair;
use josekit::jws::alg::eddsa::{EddsaJwsSigner, EddsaJwsVerifier};
use josekit::jws::{EdDSA, JwsSigner, JwsVerifier};
use keyferry_protocol::memory::{LockedBox, MemoryError};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Serialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::app::App;
use crate::config::Algorithm;
use crate::error::ApiError;
use crate::store::{NewSigningKey, StoreError, StoredSigningKey, uuid_v7};
use crate::vault::master_key::MasterKey;
use crate::vault::seal::{self, Unsealable};
use crate::vault::server_keys::Keeper;

/// The keys of the one algorithm in use.
pub(crate) enum SigningKeys {
    EdDsa {
        current: Box<SigningKey>,
        checking: Vec<CheckingKey>,
    },
    Hs256 {
        id: String,
        key: Box<hmac::Key>,
    },
}

/// Signs new tokens.
pub(crate) struct SigningKey {
    id: String,
    signer: EddsaJwsSigner,
}

/// Checks tokens that a current or previous key signed.
pub(crate) struct CheckingKey {
    id: String,
    public_key: Vec<u8>,
    verifier: EddsaJwsVerifier,
}

/// A published key, RFC 8037.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PublishedKey {
    kty: &'static str,
    crv: &'static str,
    #[serde(rename = "use")]
    purpose: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
}

/// The answer of `/.well-known/jwks.json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PublishedKeys {
    keys: Vec<PublishedKey>,
}

/// Why there are no signing keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SigningKeysError {
    #[error("the signing keys cannot be read or stored")]
    Store(#[from] StoreError),
    #[error("a signing key cannot be unsealed: is this the right master key?")]
    Unsealable(#[from] Unsealable),
    #[error("there is no locked memory for a signing key")]
    Memory(#[from] MemoryError),
    #[error("tokens are signed with JWT_SECRET_KEY: change that, and start every server again")]
    Shared,
    #[error("a signing key is damaged")]
    Damaged(#[from] josekit::JoseError),
}

impl SigningKeys {
    /// Takes the keys out of the database; the first start makes them.
    pub(crate) async fn load(
        keeper: &Keeper<'_>,
        algorithm: &Algorithm,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Self, SigningKeysError> {
        let secret = match algorithm {
            Algorithm::Hs256(secret) => secret,
            Algorithm::EdDsa => return load_eddsa(keeper, rng).await,
        };
        let bytes = secret.expose_secret().as_bytes();
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        // Tells two secrets apart, and nothing about either.
        let id = hmac::sign(&key, b"keyferry kid");
        let id = Base64UrlUnpadded::encode_string(id.as_ref());
        let key = Box::new(key);
        Ok(Self::Hs256 { id, key })
    }

    pub(super) const fn algorithm(&self) -> &'static str {
        match self {
            Self::EdDsa { .. } => "EdDSA",
            Self::Hs256 { .. } => "HS256",
        }
    }

    pub(crate) fn current_id(&self) -> &str {
        match self {
            Self::EdDsa { current, .. } => &current.id,
            Self::Hs256 { id, .. } => id,
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, josekit::JoseError> {
        match self {
            Self::EdDsa { current, .. } => current.signer.sign(message),
            Self::Hs256 { key, .. } => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// Whether there is a key of this id.
    pub(super) fn knows(&self, id: &str) -> bool {
        match self {
            Self::EdDsa { checking, .. } => checking.iter().any(|key| key.id == id),
            Self::Hs256 { id: known, .. } => known == id,
        }
    }

    /// Whether the key of this id signed the message; HMACs are compared in constant time.
    pub(super) fn verify(&self, id: &str, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::EdDsa { checking, .. } => checking
                .iter()
                .find(|key| key.id == id)
                .is_some_and(|key| key.verifier.verify(message, signature).is_ok()),
            Self::Hs256 { id: known, key } => {
                known == id && hmac::verify(key, message, signature).is_ok()
            }
        }
    }

    /// The public halves, for other services.
    pub(crate) fn published(&self) -> PublishedKeys {
        let Self::EdDsa { checking, .. } = self else {
            return PublishedKeys { keys: Vec::new() };
        };
        let keys = checking.iter().map(|key| PublishedKey {
            kty: "OKP",
            crv: "Ed25519",
            purpose: "sig",
            alg: "EdDSA",
            kid: key.id.clone(),
            x: Base64UrlUnpadded::encode_string(&key.public_key),
        });
        PublishedKeys {
            keys: keys.collect(),
        }
    }
}

/// The keys that others check this server's access tokens with.
pub(crate) async fn published(app: &App) -> Result<PublishedKeys, ApiError> {
    Ok(app.signing_keys.keys().published())
}

async fn load_eddsa(
    keeper: &Keeper<'_>,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<SigningKeys, SigningKeysError> {
    let mut stored = keeper.store.signing_keys(keeper.now).await?;
    if !stored.iter().any(|key| key.status == "current") {
        make_first(keeper, rng).await?;
        stored = keeper.store.signing_keys(keeper.now).await?;
    }
    let mut current = None;
    let mut checking = Vec::new();
    for key in stored {
        let id = key.id.to_string();
        let verifier = EdDSA.verifier_from_der([SPKI_PREFIX, &key.public_key].concat())?;
        if key.status == "current" {
            let seed = open(keeper.master_key, &key)?;
            current = Some(Box::new(SigningKey {
                id: id.clone(),
                signer: signer(&seed)?,
            }));
        }
        checking.push(CheckingKey {
            id,
            public_key: key.public_key,
            verifier,
        });
    }
    let current = current.expect("a current key was there or has just been made");
    Ok(SigningKeys::EdDsa { current, checking })
}

async fn make_first(
    keeper: &Keeper<'_>,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<(), SigningKeysError> {
    let new = make(keeper, rng)?;
    let mut change = keeper.store.begin().await?;
    match change.insert_signing_key(&new).await {
        Ok(()) => Ok(change.commit().await?),
        // Another replica was faster: its key is the current one.
        Err(StoreError::Exists(_)) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// A new key that nobody has stored.
pub(super) fn make(
    keeper: &Keeper<'_>,
    rng: &mut impl rand_core::CryptoRng,
) -> Result<NewSigningKey, SigningKeysError> {
    let id = uuid_v7(keeper.now, rng);
    let seed = keeper.arena.random(32, rng)?;
    let public_key = public_half(&seed)?;
    let sealed = seal::seal(keeper.master_key, rng, &context(id), &seed)?;
    Ok(NewSigningKey {
        id,
        public_key,
        sealed,
        created_at: keeper.now,
    })
}

fn open(master_key: &MasterKey, key: &StoredSigningKey) -> Result<LockedBox, SigningKeysError> {
    Ok(seal::open(master_key, &context(key.id), &key.sealed)?)
}

/// What a key's private half is bound to.
pub(crate) fn context(id: Uuid) -> Vec<u8> {
    [b"keyferry signing key".as_slice(), id.as_bytes()].concat()
}

fn signer(seed: &LockedBox) -> Result<EddsaJwsSigner, josekit::JoseError> {
    EdDSA.signer_from_der(&*pkcs8(seed))
}

fn public_half(seed: &LockedBox) -> Result<Vec<u8>, josekit::JoseError> {
    let spki = EdKeyPair::from_der(&*pkcs8(seed))?.to_der_public_key();
    Ok(spki.get(SPKI_PREFIX.len()..).unwrap_or_default().to_vec())
}

fn pkcs8(seed: &LockedBox) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([PKCS8_PREFIX, seed.expose()].concat())
}

/// RFC 8410 §7: a PKCS#8 wrapper for the 32 bytes of an Ed25519 private key.
const PKCS8_PREFIX: &[u8] = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
/// RFC 8410 §4: the same for a public key.
const SPKI_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
