//! A key whose value was kept elsewhere, made ready for the vault.

use keyferry_protocol::ids::KeyName;
use keyferry_protocol::memory::LockedBox;

use super::key::Provider;
use super::policy::Policy;
use super::put::sealed_version;
use super::value::Value;
use crate::app::App;
use crate::error::ApiError;
use crate::store::{NewKeyRow, NewVersionRow, ProviderKeyId, TenantId, UserId};

/// A key to be, on the operator's word.
pub(crate) struct Adopted<'a> {
    pub(crate) id: ProviderKeyId,
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) name: &'a KeyName,
    pub(crate) provider: Provider,
    pub(crate) policy: &'a Policy,
    pub(crate) plain: LockedBox,
}

/// Checks and seals the value; the caller stores both rows together.
pub(crate) fn adopt(app: &App, key: Adopted<'_>) -> Result<(NewKeyRow, NewVersionRow), ApiError> {
    let value = Value::of(app, key.tenant, key.plain)?;
    let version = sealed_version(app, key.tenant, (key.id, 1), value)?;
    let row = NewKeyRow {
        id: key.id,
        tenant: key.tenant,
        name: key.name.to_string(),
        provider: key.provider.name(),
        policy: serde_json::to_string(key.policy).map_err(ApiError::internal)?,
        created_by: key.user,
        created_at: version.created_at,
    };
    Ok((row, version))
}
