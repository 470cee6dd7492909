//! A provider key as its owners see it: everything but the value.

use keyferry_protocol::ids::KeyName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Policy;
use crate::app::App;
use crate::error::ApiError;
use crate::sessions::SignedIn;
use crate::store::{ProviderKeyId, StoredKey, TenantId, UnixTime};

/// A provider preset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Provider {
    Openai,
    Anthropic,
    Google,
    Groq,
    Custom,
}

impl Provider {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Google => "google",
            Self::Groq => "groq",
            Self::Custom => "custom",
        }
    }
}

/// A key in an answer.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Key {
    name: String,
    provider: String,
    version: u32,
    fingerprint: String,
    last4: Option<String>,
    status: String,
    policy: Policy,
    created_at: UnixTime,
    rotated_at: Option<UnixTime>,
}

impl Key {
    /// What the database knows, with its policy read.
    pub(super) fn of(stored: StoredKey) -> Result<Self, ApiError> {
        Ok(Self {
            version: stored.version(),
            policy: serde_json::from_str(&stored.policy).map_err(ApiError::internal)?,
            name: stored.name,
            provider: stored.provider,
            fingerprint: stored.fingerprint,
            last4: stored.last4,
            status: stored.status,
            created_at: stored.created_at,
            rotated_at: stored.rotated_at,
        })
    }

    /// What a list goes on after.
    pub(super) fn sorts_by(&self) -> String {
        self.name.clone()
    }
}

/// The key of this name, which the caller's tenant owns.
pub(super) async fn owned(
    app: &App,
    caller: &SignedIn,
    name: &KeyName,
) -> Result<StoredKey, ApiError> {
    let key = app.store.key(caller.tenant_id(), name.as_str()).await?;
    key.ok_or(ApiError::NotFound)
}

/// What a version's ciphertext is bound to: tenant, key and version.
pub(crate) fn record_context(tenant: TenantId, key: ProviderKeyId, version: u32) -> Vec<u8> {
    [
        b"keyferry key\0".as_slice(),
        &tenant.bytes(),
        &key.bytes(),
        &version.to_be_bytes(),
    ]
    .concat()
}
