//! What is kept of a session.

use keyferry_sdk::tls::ServerTrust;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::rest::{Address, CertificateFiles, Rest};

/// A session on one server.
pub(crate) struct Session {
    pub(crate) server: Address,
    pub(crate) trust: ServerTrust,
    shown: Option<CertificateFiles>,
    pub(crate) user_id: Uuid,
    pub(crate) user: String,
    pub(crate) access_token: SecretString,
    pub(crate) refresh_token: SecretString,
    expires_at: i64,
}

/// The shape of the file.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    server: &'a str,
    fingerprint: Option<&'a str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<CertificateFiles>,
    user_id: Uuid,
    user: &'a str,
    access_token: &'a str,
    refresh_token: &'a str,
    expires_at: i64,
}

impl Session {
    /// The session that `register`, `login` and `refresh` answer with.
    pub(crate) fn from_answer(rest: &Rest, answer: &Value, now: OffsetDateTime) -> Option<Self> {
        let text = |member: &str| answer.get(member).and_then(Value::as_str);
        let user = text("username").or_else(|| text("email"));
        let user = user.or_else(|| answer.get("user")?.get("email")?.as_str());
        let user_id = text("user_id").or_else(|| text("id"))?.parse().ok()?;
        Self::of(rest, (user_id, user?), (answer, now))
    }

    /// Another session of the same user, with the tokens of this answer.
    pub(super) fn succeeded_by(&self, answer: &Value, now: OffsetDateTime) -> Option<Self> {
        Self::of(&self.rest(), (self.user_id, &self.user), (answer, now))
    }

    fn of(
        rest: &Rest,
        (user_id, user): (Uuid, &str),
        (answer, now): (&Value, OffsetDateTime),
    ) -> Option<Self> {
        let text = |member: &str| answer.get(member).and_then(Value::as_str);
        let life = Duration::seconds(answer.get("expires_in")?.as_i64()?);
        Some(Self {
            server: rest.address().clone(),
            trust: rest.trust().clone(),
            shown: rest.shown().cloned(),
            user_id,
            user: user.to_owned(),
            access_token: text("access_token")?.into(),
            refresh_token: text("refresh_token")?.into(),
            expires_at: (now + life).unix_timestamp(),
        })
    }

    /// Whether the access token is still good for a request.
    pub(crate) fn is_fresh(&self, now: OffsetDateTime) -> bool {
        now.unix_timestamp() + MARGIN_SECONDS < self.expires_at
    }

    pub(crate) fn rest(&self) -> Rest {
        Rest::new(self.server.clone(), self.trust.clone()).showing(self.shown.clone())
    }

    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let fingerprint = match &self.trust {
            ServerTrust::Pinned(pin) => Some(pin.to_string()),
            ServerTrust::System => None,
        };
        let server = self.server.to_string();
        let stored = Stored {
            server: &server,
            fingerprint: fingerprint.as_deref(),
            client: self.shown.clone(),
            user_id: self.user_id,
            user: &self.user,
            access_token: self.access_token.expose_secret(),
            refresh_token: self.refresh_token.expose_secret(),
            expires_at: self.expires_at,
        };
        Zeroizing::new(serde_json::to_vec(&stored).expect("texts and numbers have a JSON form"))
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored: Stored<'_> = serde_json::from_slice(bytes).ok()?;
        let trust = match stored.fingerprint {
            Some(pin) => ServerTrust::Pinned(pin.parse().ok()?),
            None => ServerTrust::System,
        };
        Some(Self {
            server: stored.server.parse().ok()?,
            trust,
            shown: stored.client,
            user_id: stored.user_id,
            user: stored.user.to_owned(),
            access_token: stored.access_token.into(),
            refresh_token: stored.refresh_token.into(),
            expires_at: stored.expires_at,
        })
    }
}

/// A request takes time, and clocks differ.
const MARGIN_SECONDS: i64 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_survives_being_stored() {
        let session = Session::decode(STORED).unwrap();
        assert_eq!(&session.encode()[..], STORED);
    }

    #[test]
    fn a_session_is_stale_shortly_before_its_token_ends() {
        let session = Session::decode(STORED).unwrap();
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        assert!(session.is_fresh(at(1_799_999_900)));
        assert!(!session.is_fresh(at(1_799_999_980)));
    }

    #[test]
    fn half_a_session_is_none() {
        assert!(Session::decode(b"{\"server\":\"https://a.example\"}").is_none());
        assert!(Session::decode(&STORED[..STORED.len() - 1]).is_none());
    }

    const STORED: &[u8] = br#"{"server":"https://a.example:443","fingerprint":"sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","user_id":"01970000-0000-7000-8000-000000000000","user":"ada","access_token":"eyJ","refresh_token":"kfr_1","expires_at":1800000000}"#;
}
