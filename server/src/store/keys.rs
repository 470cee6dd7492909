//! Provider keys and their versions. Every query names the tenant.

use sqlx::FromRow;

use super::{ProviderKeyId, Store, StoreError, TenantId, Transaction, UnixTime, UserId, sql};
use crate::vault::seal::Sealed;

/// A key with what may be shown of its current version.
#[derive(FromRow)]
pub(crate) struct StoredKey {
    pub(crate) id: ProviderKeyId,
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) policy: String,
    pub(crate) status: String,
    pub(crate) current_version: i64,
    pub(crate) created_at: UnixTime,
    pub(crate) rotated_at: Option<UnixTime>,
    pub(crate) fingerprint: String,
    pub(crate) last4: Option<String>,
}

impl StoredKey {
    /// The current version.
    pub(crate) fn version(&self) -> u32 {
        u32::try_from(self.current_version).unwrap_or(u32::MAX)
    }
}

/// One version in a key's history.
#[derive(FromRow)]
pub(crate) struct StoredVersion {
    pub(crate) version: i64,
    pub(crate) fingerprint: String,
    pub(crate) last4: Option<String>,
    pub(crate) created_at: UnixTime,
    pub(crate) retire_at: Option<UnixTime>,
    pub(crate) destroyed_at: Option<UnixTime>,
}

/// A key to be.
pub(crate) struct NewKeyRow {
    pub(crate) id: ProviderKeyId,
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) provider: &'static str,
    pub(crate) policy: String,
    pub(crate) created_by: UserId,
    pub(crate) created_at: UnixTime,
}

/// A version to be.
pub(crate) struct NewVersionRow {
    pub(crate) key: ProviderKeyId,
    pub(crate) version: i64,
    pub(crate) tenant: TenantId,
    pub(crate) sealed: Sealed,
    pub(crate) fingerprint: String,
    pub(crate) last4: Option<String>,
    pub(crate) created_at: UnixTime,
}

impl Store {
    pub(crate) async fn key(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<StoredKey>, StoreError> {
        const SQL: &str = "SELECT k.id, k.name, k.provider, k.policy, k.status, \
            k.current_version, k.created_at, k.rotated_at, v.fingerprint, v.last4 \
            FROM provider_keys k \
            JOIN key_versions v ON v.key_id = k.id AND v.version = k.current_version \
            WHERE k.tenant_id = $1 AND k.name = $2";
        sql!(self, query_as(SQL, tenant, name).fetch_optional)
    }

    pub(crate) async fn keys(
        &self,
        tenant: TenantId,
        after: &str,
        rows: i64,
    ) -> Result<Vec<StoredKey>, StoreError> {
        const SQL: &str = "SELECT k.id, k.name, k.provider, k.policy, k.status, \
            k.current_version, k.created_at, k.rotated_at, v.fingerprint, v.last4 \
            FROM provider_keys k \
            JOIN key_versions v ON v.key_id = k.id AND v.version = k.current_version \
            WHERE k.tenant_id = $1 AND k.name > $2 ORDER BY k.name LIMIT $3";
        sql!(self, query_as(SQL, tenant, after, rows).fetch_all)
    }

    pub(crate) async fn versions(
        &self,
        (tenant, key): (TenantId, ProviderKeyId),
        before: i64,
        rows: i64,
    ) -> Result<Vec<StoredVersion>, StoreError> {
        const SQL: &str = "SELECT version, fingerprint, last4, created_at, retire_at, \
            destroyed_at FROM key_versions \
            WHERE tenant_id = $1 AND key_id = $2 AND version < $3 \
            ORDER BY version DESC LIMIT $4";
        sql!(self, query_as(SQL, tenant, key, before, rows).fetch_all)
    }

    /// How many keys the tenant has that are not revoked.
    pub(crate) async fn active_keys(&self, tenant: TenantId) -> Result<i64, StoreError> {
        sql!(self, query_scalar(COUNT_ACTIVE, tenant).fetch_one)
    }

    /// The sealed value of one version; `None` when it has been destroyed.
    pub(crate) async fn sealed_version(
        &self,
        (tenant, key): (TenantId, ProviderKeyId),
        version: i64,
    ) -> Result<Option<Sealed>, StoreError> {
        const SQL: &str = "SELECT salt, ciphertext, master_key_id FROM key_versions \
            WHERE tenant_id = $1 AND key_id = $2 AND version = $3 AND destroyed_at IS NULL \
            AND held_back_at IS NULL";
        sql!(self, query_as(SQL, tenant, key, version).fetch_optional)
    }

    /// Destroys the ciphertext of every version whose overlap is over, in all tenants.
    pub(crate) async fn destroy_overlapped_versions(
        &self,
        now: UnixTime,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE key_versions SET salt = $1, ciphertext = $1, destroyed_at = $2 \
            WHERE destroyed_at IS NULL AND retire_at <= $2";
        sql!(self, query(SQL, NOTHING, now).execute)
    }
}

impl Transaction {
    /// The policy of a key that is not revoked. Nobody else changes it before the transaction ends.
    pub(crate) async fn hold_key_policy(
        &mut self,
        (tenant, id): (TenantId, ProviderKeyId),
    ) -> Result<Option<String>, StoreError> {
        const SQL: &str = "UPDATE provider_keys SET policy = policy \
            WHERE tenant_id = $1 AND id = $2 AND status = 'active' RETURNING policy";
        sql!(self, query_scalar(SQL, tenant, id).fetch_optional)
    }

    pub(crate) async fn change_key_policy(
        &mut self,
        (tenant, id): (TenantId, ProviderKeyId),
        policy: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE provider_keys SET policy = $3 WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, id, policy).execute).map(drop)
    }

    /// How many keys the tenant has that are not revoked.
    pub(crate) async fn count_active_keys(&mut self, tenant: TenantId) -> Result<i64, StoreError> {
        sql!(self, query_scalar(COUNT_ACTIVE, tenant).fetch_one)
    }

    pub(crate) async fn insert_key(&mut self, new: &NewKeyRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO provider_keys \
            (id, tenant_id, name, provider, policy, status, current_version, created_by, \
            created_at) VALUES ($1, $2, $3, $4, $5, 'active', 1, $6, $7)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.tenant,
                &new.name,
                new.provider,
                &new.policy,
                new.created_by,
                new.created_at
            )
            .execute
        )
        .map(drop)
    }

    pub(crate) async fn insert_version(&mut self, new: &NewVersionRow) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO key_versions \
            (key_id, version, tenant_id, salt, ciphertext, master_key_id, fingerprint, last4, \
            created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        sql!(
            self,
            query(
                SQL,
                new.key,
                new.version,
                new.tenant,
                &new.sealed.salt,
                &new.sealed.ciphertext,
                &new.sealed.master_key_id,
                &new.fingerprint,
                &new.last4,
                new.created_at
            )
            .execute
        )
        .map(drop)
    }

    /// Moves an active key on from version `old`; `false` when somebody else was faster.
    pub(crate) async fn advance_key(
        &mut self,
        (tenant, key): (TenantId, ProviderKeyId),
        old: i64,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE provider_keys \
            SET current_version = current_version + 1, rotated_at = $4 \
            WHERE tenant_id = $1 AND id = $2 AND current_version = $3 AND status = 'active'";
        let rows = sql!(self, query(SQL, tenant, key, old, now).execute)?;
        Ok(rows == 1)
    }

    pub(crate) async fn retire_version(
        &mut self,
        (tenant, key): (TenantId, ProviderKeyId),
        version: i64,
        at: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE key_versions SET retire_at = $4 \
            WHERE tenant_id = $1 AND key_id = $2 AND version = $3";
        sql!(self, query(SQL, tenant, key, version, at).execute).map(drop)
    }

    /// Ends the overlap of every version of a key up to this one.
    pub(crate) async fn end_overlaps(
        &mut self,
        (tenant, key): (TenantId, ProviderKeyId),
        version: i64,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE key_versions SET retire_at = $4 WHERE tenant_id = $1 \
            AND key_id = $2 AND version <= $3 AND destroyed_at IS NULL";
        sql!(self, query(SQL, tenant, key, version, now).execute).map(drop)
    }

    /// Destroys the versions of one key whose overlap is over.
    pub(crate) async fn destroy_retired_versions(
        &mut self,
        (tenant, key): (TenantId, ProviderKeyId),
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE key_versions SET salt = $3, ciphertext = $3, destroyed_at = $4 \
            WHERE tenant_id = $1 AND key_id = $2 AND destroyed_at IS NULL AND retire_at <= $4";
        self.destroy(SQL, (tenant, key), now).await
    }

    /// Destroys every version of one key.
    pub(crate) async fn destroy_all_versions(
        &mut self,
        (tenant, key): (TenantId, ProviderKeyId),
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE key_versions SET salt = $3, ciphertext = $3, destroyed_at = $4 \
            WHERE tenant_id = $1 AND key_id = $2 AND destroyed_at IS NULL";
        self.destroy(SQL, (tenant, key), now).await
    }

    pub(crate) async fn revoke_key(
        &mut self,
        (tenant, key): (TenantId, ProviderKeyId),
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE provider_keys SET status = 'revoked', revoked_at = $3 \
            WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, key, now).execute).map(drop)
    }

    pub(crate) async fn delete_key(
        &mut self,
        (tenant, key): (TenantId, ProviderKeyId),
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM provider_keys WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, key).execute).map(drop)
    }

    async fn destroy(
        &mut self,
        sql: &'static str,
        (tenant, key): (TenantId, ProviderKeyId),
        now: UnixTime,
    ) -> Result<(), StoreError> {
        sql!(self, query(sql, tenant, key, NOTHING, now).execute).map(drop)
    }
}

const COUNT_ACTIVE: &str =
    "SELECT COUNT(*) FROM provider_keys WHERE tenant_id = $1 AND status = 'active'";
/// What is left of a destroyed salt or ciphertext.
const NOTHING: &[u8] = &[];
