//! ID tokens, checked as OpenID Connect Core §3.1.3.7 and RFC 8725 say.

use base64ct::{Base64UrlUnpadded, Encoding};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, EdDSA, JwsVerifier, PS256, RS256};
use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;

use crate::config::IdTokenAlgorithm;
use crate::store::UnixTime;

/// What a token must be to count here and now.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) algorithms: &'a [IdTokenAlgorithm],
    pub(super) nonce: &'a str,
    pub(super) now: UnixTime,
}

/// Who somebody is, by the provider's word.
#[derive(Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    nonce: Option<String>,
    pub(super) sub: String,
    #[serde(flatten)]
    pub(super) person: PersonClaims,
}

/// What else is told about the person, here or at the userinfo endpoint.
#[derive(Clone, Default, Deserialize)]
pub(super) struct PersonClaims {
    pub(super) email: Option<String>,
    #[serde(default, deserialize_with = "verified")]
    pub(super) email_verified: bool,
    pub(super) name: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// What this server reads of a header; keys and places of keys in it are not among that.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

/// Why a token does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdTokenError {
    #[error("the ID token is malformed")]
    Malformed,
    #[error("the ID token is signed in a way that the settings do not allow")]
    Algorithm,
    #[error("the ID token names a key that the provider does not publish")]
    UnknownKey,
    #[error("the signature of the ID token is wrong")]
    Signature,
    #[error("the ID token is another issuer's")]
    Issuer,
    #[error("the ID token is for another client")]
    Audience,
    #[error("the ID token is too old, or from the future")]
    Time,
    #[error("the ID token answers another sign-in")]
    Nonce,
    #[error("the userinfo endpoint speaks of somebody else")]
    SomebodyElse,
}

/// What the token says, if the provider signed it for this client and this sign-in.
pub(super) fn check(
    token: &str,
    expected: &Expected<'_>,
    keys: &[Jwk],
) -> Result<Claims, IdTokenError> {
    if token.len() > LONGEST {
        return Err(IdTokenError::Malformed);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(IdTokenError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(IdTokenError::Malformed)?;
    let header: Header = decode(header)?;
    if header.crit.is_some() {
        return Err(IdTokenError::Malformed);
    }
    let mut allowed = expected.algorithms.iter().copied();
    let algorithm = allowed.find(|one| one.name() == header.alg);
    let algorithm = algorithm.ok_or(IdTokenError::Algorithm)?;
    let signature = decoded(signature)?;
    let named = |key: &&Jwk| header.kid.is_none() || header.kid.as_deref() == key.key_id();
    let fitting = keys.iter().filter(named);
    let mut verifiers = fitting.filter_map(|key| algorithm.verifier(key)).peekable();
    if verifiers.peek().is_none() {
        return Err(IdTokenError::UnknownKey);
    }
    if !verifiers.any(|one| one.verify(message.as_bytes(), &signature).is_ok()) {
        return Err(IdTokenError::Signature);
    }
    let claims: Claims = decode(payload)?;
    claims.count(expected)?;
    Ok(claims)
}

impl Claims {
    fn count(&self, expected: &Expected<'_>) -> Result<(), IdTokenError> {
        if self.iss != expected.issuer {
            return Err(IdTokenError::Issuer);
        }
        if !self.aud.is(expected.client_id, self.azp.as_deref()) {
            return Err(IdTokenError::Audience);
        }
        let now = expected.now.seconds();
        let young = self.iat <= now + LEEWAY && self.iat > now - OLDEST;
        let begun = self.nbf.is_none_or(|nbf| nbf <= now + LEEWAY);
        if !young || !begun || now >= self.exp.saturating_add(LEEWAY) {
            return Err(IdTokenError::Time);
        }
        let nonce = self.nonce.as_deref().unwrap_or_default().as_bytes();
        if !bool::from(nonce.ct_eq(expected.nonce.as_bytes())) {
            return Err(IdTokenError::Nonce);
        }
        if self.sub.is_empty() || self.sub.len() > 255 {
            return Err(IdTokenError::Malformed);
        }
        Ok(())
    }
}

impl Audience {
    /// For this client, and for others beside it only when it is the one it was issued to.
    fn is(&self, client_id: &str, issued_to: Option<&str>) -> bool {
        let ours = issued_to.is_none_or(|party| party == client_id);
        match self {
            Self::One(only) => only == client_id && ours,
            Self::Several(all) => {
                let named = all.iter().any(|one| one == client_id);
                named && ours && (all.len() == 1 || issued_to.is_some())
            }
        }
    }
}

impl IdTokenAlgorithm {
    const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// None for a key of another kind or use, or one that is too short.
    fn verifier(self, key: &Jwk) -> Option<Box<dyn JwsVerifier>> {
        match self {
            Self::Rs256 if is_long(key) => Some(Box::new(RS256.verifier_from_jwk(key).ok()?)),
            Self::Ps256 if is_long(key) => Some(Box::new(PS256.verifier_from_jwk(key).ok()?)),
            Self::Rs256 | Self::Ps256 => None,
            Self::Es256 => Some(Box::new(ES256.verifier_from_jwk(key).ok()?)),
            Self::EdDsa => Some(Box::new(EdDSA.verifier_from_jwk(key).ok()?)),
        }
    }
}

/// RFC 7518 §3.3: RSA keys have 2048 bits at least.
fn is_long(key: &Jwk) -> bool {
    let modulus = key.parameter("n").and_then(|n| n.as_str());
    let modulus = modulus.and_then(|n| Base64UrlUnpadded::decode_vec(n).ok());
    modulus.is_some_and(|n| n.iter().skip_while(|byte| **byte == 0).count() >= 256)
}

/// Some providers write the truth as a text.
fn verified<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value == true || value == "true")
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, IdTokenError> {
    serde_json::from_slice(&decoded(part)?).map_err(|_| IdTokenError::Malformed)
}

fn decoded(part: &str) -> Result<Vec<u8>, IdTokenError> {
    Base64UrlUnpadded::decode_vec(part).map_err(|_| IdTokenError::Malformed)
}

const LEEWAY: i64 = 30;
/// A token that answers a sign-in was made during it.
const OLDEST: i64 = 15 * 60;
const LONGEST: usize = 16 * 1024;
