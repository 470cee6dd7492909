//! API keys for people's own programs: shown once, used as a bearer token.

mod add;
mod list;
mod revoke;

pub(crate) use add::add_api_key;
pub(crate) use list::list_api_keys;
pub(crate) use revoke::revoke_api_key;

use schemars::JsonSchema;
use serde::Serialize;

use crate::error::ApiError;
use crate::sessions::Permission;
use crate::store::{ServiceKeyId, StoredServiceKey, UnixTime};

/// An API key as its owner sees it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ApiKey {
    id: ServiceKeyId,
    name: String,
    /// Its last characters.
    hint: String,
    /// None: all that the owner's role permits.
    permissions: Option<Vec<Permission>>,
    created_at: UnixTime,
    expires_at: Option<UnixTime>,
    last_used_at: Option<UnixTime>,
}

impl ApiKey {
    pub(super) fn of(stored: StoredServiceKey) -> Result<Self, ApiError> {
        let permissions = stored.permissions.as_deref().map(Permission::parse_list);
        Ok(Self {
            id: stored.id,
            name: stored.name,
            hint: stored.hint,
            permissions: permissions.transpose().map_err(ApiError::internal)?,
            created_at: stored.created_at,
            expires_at: stored.expires_at,
            last_used_at: stored.last_used_at,
        })
    }
}

#[cfg(test)]
mod tests;
