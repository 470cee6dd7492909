//! Access tokens: JWTs as RFC 8725 wants them, signed by one algorithm that is never negotiated.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::start::Member;
use super::{Membership, Permissions, Role};
use crate::app::App;
use crate::error::ApiError;
use crate::store::{SessionId, TenantId, UnixTime, UserId, uuid_v7};
use crate::tenants::Plan;

/// Whom a token speaks for.
pub(super) struct Bearer {
    pub(super) session: SessionId,
    pub(super) member: Member,
    pub(super) membership: Membership,
}

/// What a checked token says.
#[derive(Clone, Copy, Debug)]
pub(super) struct CheckedClaims {
    pub(super) session: SessionId,
    pub(super) user: UserId,
    pub(super) tenant: TenantId,
    not_before: UnixTime,
    expires_at: UnixTime,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

/// Every claim that this server reads is demanded: a token that lacks one does not parse.
#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    #[serde(rename = "jti")]
    _jti: Uuid,
    tenant: TenantId,
    roles: Vec<String>,
    #[serde(rename = "iat")]
    _iat: i64,
    nbf: i64,
    exp: i64,
}

/// What a token says, to this server and to the services beside it.
#[derive(Serialize)]
struct Said<'a> {
    iss: String,
    aud: &'a str,
    sub: UserId,
    sid: SessionId,
    jti: Uuid,
    tenant: TenantId,
    roles: [&'a Role; 1],
    permissions: &'a Permissions,
    plan: &'a Plan,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Signs a token for a session.
pub(super) fn issue(app: &App, bearer: &Bearer) -> Result<Zeroizing<String>, ApiError> {
    let now = app.clock.now();
    let Membership { role, plan, .. } = &bearer.membership;
    let claims = Said {
        iss: issuer(app),
        aud: AUDIENCE,
        sub: bearer.member.user,
        sid: bearer.session,
        jti: uuid_v7(now, &mut app.rng()),
        tenant: bearer.member.tenant,
        roles: [role],
        permissions: role.permissions(),
        plan,
        iat: now.seconds(),
        nbf: now.seconds(),
        exp: (now + app.config.tokens.access_life).seconds(),
    };
    let keys = app.signing_keys.keys();
    let header = Header {
        alg: keys.algorithm().into(),
        typ: TYPE.into(),
        kid: keys.current_id().into(),
    };
    let mut token = Zeroizing::new(encode(&header)?);
    token.push('.');
    token.push_str(&encode(&claims)?);
    let signature = keys.sign(token.as_bytes()).map_err(ApiError::internal)?;
    token.push('.');
    token.push_str(&Base64UrlUnpadded::encode_string(&signature));
    Ok(token)
}

/// What the token says, if this server signed it and its time has come and not gone.
pub(super) fn check(app: &App, token: &str) -> Option<CheckedClaims> {
    if token.len() > LONGEST {
        return None;
    }
    let now = app.clock.now();
    let hash = Sha256::digest(token.as_bytes()).into();
    if let Some(known) = app.verified_tokens.recall(&hash, now) {
        return Some(known);
    }
    let claims = verify(app, token)?;
    if !claims.counts_at(now) {
        return None;
    }
    app.verified_tokens.remember(hash, claims);
    Some(claims)
}

impl CheckedClaims {
    pub(super) fn counts_at(&self, now: UnixTime) -> bool {
        self.not_before <= now + LEEWAY && now < self.expires_at + LEEWAY
    }

    #[cfg(test)]
    pub(super) fn until(expires_at: UnixTime) -> Self {
        Self {
            session: SessionId::from_bytes([0; 16]),
            user: UserId::from_bytes([0; 16]),
            tenant: TenantId::from_bytes([0; 16]),
            not_before: UnixTime::from_microseconds(0),
            expires_at,
        }
    }
}

/// Whether the token names a key that is not known here: another server may have made it since.
pub(super) fn names_unknown_key(app: &App, token: &str) -> bool {
    let header = token.split('.').next().filter(|_| token.len() <= LONGEST);
    let header: Option<Header> = header.and_then(decode);
    let keys = app.signing_keys.keys();
    header.is_some_and(|header| header.alg == keys.algorithm() && !keys.knows(&header.kid))
}

fn verify(app: &App, token: &str) -> Option<CheckedClaims> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let header: Header = decode(header)?;
    let keys = app.signing_keys.keys();
    if header.alg != keys.algorithm() || header.typ != TYPE {
        return None;
    }
    let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
    if !keys.verify(&header.kid, message.as_bytes(), &signature) {
        return None;
    }
    let claims: Claims = decode(payload)?;
    if claims.iss != issuer(app) || claims.aud != AUDIENCE || claims.roles.is_empty() {
        return None;
    }
    Some(CheckedClaims {
        session: claims.sid,
        user: claims.sub,
        tenant: claims.tenant,
        not_before: UnixTime::from_seconds(claims.nbf),
        expires_at: UnixTime::from_seconds(claims.exp),
    })
}

fn issuer(app: &App) -> String {
    format!("urn:keyferry:{}", app.instance)
}

fn encode(part: &impl Serialize) -> Result<String, ApiError> {
    let json = serde_json::to_vec(part).map_err(ApiError::internal)?;
    Ok(Base64UrlUnpadded::encode_string(&json))
}

fn decode<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).ok()?).ok()
}

const AUDIENCE: &str = "keyferry";
const TYPE: &str = "at+jwt";
pub(super) const LEEWAY: Duration = Duration::from_secs(30);
/// Room for a role and a plan that are as long as they may be, and in a head of a request.
const LONGEST: usize = 8192;

#[cfg(test)]
pub(super) mod tests;

#[cfg(test)]
mod attacks;
