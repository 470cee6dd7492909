//! What a provider says of itself, and the keys that it signs with: fetched when first needed,
//! again after an hour, and at once when a token names a key that is not among them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use josekit::jwk::Jwk;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Provider, url};
use crate::error::ApiError;
use crate::outbound::Url;
use crate::store::UnixTime;

/// What is remembered of a provider.
#[derive(Default)]
pub(super) struct Memory {
    known: Option<Known>,
    /// When it was asked in vain, since it last answered.
    failed: Option<UnixTime>,
}

/// What is known of a provider, and since when.
#[derive(Clone)]
pub(super) struct Known {
    since: UnixTime,
    pub(super) metadata: Arc<Metadata>,
    pub(super) keys: Arc<Vec<Jwk>>,
}

/// OpenID Connect Discovery 1.0 §3, as far as it is used here.
#[derive(Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) userinfo_endpoint: Option<String>,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// RFC 9207: whether every answer names its issuer.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Map<String, Value>>,
}

/// How the server shows a provider that it is its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientProof {
    Basic,
    Post,
}

/// A provider's word contradicts itself, or the operator's.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiscoveryError {
    #[error("the provider answered {0}")]
    Status(StatusCode),
    #[error("the provider's answer is not what OpenID Connect says")]
    Shape(#[source] serde_json::Error),
    #[error("the provider calls itself by another issuer than the settings do")]
    OtherIssuer,
    #[error("the provider did not answer a moment ago")]
    Away,
}

impl Metadata {
    /// A provider that says nothing takes Basic (Discovery 1.0 §3).
    pub(super) fn client_proof(&self) -> ClientProof {
        let taken = &self.token_endpoint_auth_methods_supported;
        if taken.is_empty() || taken.iter().any(|one| one == "client_secret_basic") {
            ClientProof::Basic
        } else {
            ClientProof::Post
        }
    }
}

impl Provider {
    /// What is known, not older than an hour if it can be had.
    pub(super) async fn known(&self, now: UnixTime) -> Result<Known, ApiError> {
        self.known_since(now, AGE).await
    }

    /// The same after a token named an unknown key: not older than some seconds, so that invented
    /// keys do not cost a request each.
    pub(super) async fn known_again(&self, now: UnixTime) -> Result<Known, ApiError> {
        self.known_since(now, SOON).await
    }

    async fn known_since(&self, now: UnixTime, age: Duration) -> Result<Known, ApiError> {
        let mut memory = self.memory.lock().await;
        let young = |known: &&Known| now.since(known.since) < age;
        if let Some(known) = memory.known.as_ref().filter(young) {
            return Ok(known.clone());
        }
        // Else every sign-in would wait for the same silence, one after the other.
        let lately = |failed| now.since(failed) < PAUSE;
        let fresh = if memory.failed.is_some_and(lately) {
            Err(Self::fails(DiscoveryError::Away))
        } else {
            let fresh = self.discover(now).await;
            memory.failed = fresh.is_err().then_some(now);
            fresh
        };
        match (fresh, memory.known.as_ref()) {
            (Ok(fresh), _) => Ok(memory.known.insert(fresh).clone()),
            // What was true is better than nothing, while the provider is away.
            (Err(_), Some(stale)) => Ok(stale.clone()),
            (Err(cause), None) => Err(cause),
        }
    }

    async fn discover(&self, now: UnixTime) -> Result<Known, ApiError> {
        let issuer = &self.settings.issuer;
        let base = issuer.trim_end_matches('/');
        let place = format!("{base}/.well-known/openid-configuration");
        let metadata: Metadata = self.fetch(&url(&place)?).await?;
        if metadata.issuer != *issuer {
            return Err(Self::fails(DiscoveryError::OtherIssuer));
        }
        let set: KeySet = self.fetch(&url(&metadata.jwks_uri)?).await?;
        // Keys of kinds that we do not know are for others.
        let keys = set.keys.into_iter();
        let keys = keys.filter_map(|key| Jwk::from_map(key).ok());
        Ok(Known {
            since: now,
            keys: Arc::new(keys.take(MOST_KEYS).collect()),
            metadata: Arc::new(metadata),
        })
    }

    async fn fetch<T: DeserializeOwned>(&self, from: &Url) -> Result<T, ApiError> {
        let request = Request::builder().method(Method::GET);
        self.ask(from, request, Bytes::new()).await
    }

    /// Sends a request whose answer is one JSON object.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        at: &Url,
        request: Builder,
        body: Bytes,
    ) -> Result<T, ApiError> {
        let request = request.header("accept", "application/json");
        let answer = self.client.send(at, request, body).await;
        let answer = answer.map_err(Self::fails)?;
        if answer.status() != StatusCode::OK {
            return Err(Self::fails(DiscoveryError::Status(answer.status())));
        }
        serde_json::from_slice(answer.body())
            .map_err(|cause| Self::fails(DiscoveryError::Shape(cause)))
    }
}

const AGE: Duration = Duration::from_secs(3_600);
const SOON: Duration = Duration::from_secs(10);
/// After it was asked in vain. To ask takes up to twice ten seconds.
const PAUSE: Duration = Duration::from_secs(30);
const MOST_KEYS: usize = 100;
