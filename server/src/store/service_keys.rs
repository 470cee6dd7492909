//! The API keys of people's programs.

use sqlx::FromRow;

use super::{
    ServiceKeyId, Store, StoreError, TenantId, Transaction, UnixTime, UserId, owes_factor, sql,
};

/// A service API key to be.
pub(crate) struct NewServiceKeyRow {
    pub(crate) id: ServiceKeyId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) name: String,
    pub(crate) hint: String,
    pub(crate) key_hash: [u8; 32],
    pub(crate) permissions: Option<String>,
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: Option<UnixTime>,
}

/// A service API key as its owner sees it.
#[derive(FromRow)]
pub(crate) struct StoredServiceKey {
    pub(crate) id: ServiceKeyId,
    pub(crate) name: String,
    pub(crate) hint: String,
    pub(crate) permissions: Option<String>,
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: Option<UnixTime>,
    pub(crate) last_used_at: Option<UnixTime>,
}

/// A service API key, and the tenant that it works in.
#[derive(FromRow)]
pub(crate) struct OwnServiceKey {
    pub(crate) tenant_id: TenantId,
    #[sqlx(flatten)]
    pub(crate) key: StoredServiceKey,
}

/// A service API key that counts, with what its owner may do now.
#[derive(FromRow)]
pub(crate) struct LiveServiceKey {
    pub(crate) id: ServiceKeyId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) role: String,
    /// What the role permits, when it is the tenant's own.
    pub(crate) role_permissions: Option<String>,
    pub(crate) permissions: Option<String>,
    pub(crate) last_used_at: Option<UnixTime>,
    pub(crate) requests_per_minute: Option<i32>,
    /// Whether the tenant demands a second factor that the owner does not have.
    pub(crate) owes_factor: bool,
}

impl Store {
    /// The key, unless it was revoked, has expired, or its owner is no longer active.
    pub(crate) async fn live_service_key(
        &self,
        key_hash: &[u8; 32],
        now: UnixTime,
    ) -> Result<Option<LiveServiceKey>, StoreError> {
        const SQL: &str = concat!(
            "SELECT k.id, k.tenant_id, k.user_id, m.role, k.permissions, \
             r.permissions AS role_permissions, k.last_used_at, p.requests_per_minute, ",
            owes_factor!(),
            " FROM service_api_keys k JOIN users u ON u.id = k.user_id \
             JOIN memberships m ON m.user_id = k.user_id AND m.tenant_id = k.tenant_id \
             JOIN tenants t ON t.id = m.tenant_id JOIN plans p ON p.name = t.plan \
             LEFT JOIN roles r ON r.tenant_id = m.tenant_id AND r.name = m.role \
             WHERE k.key_hash = $1 AND k.revoked_at IS NULL AND k.held_back_at IS NULL \
             AND (k.expires_at IS NULL OR k.expires_at > $2) AND u.status = 'active'"
        );
        sql!(self, query_as(SQL, key_hash.as_slice(), now).fetch_optional)
    }

    /// The member's keys that were not revoked, oldest first.
    pub(crate) async fn service_keys(
        &self,
        (tenant, user): (TenantId, UserId),
        after: Option<ServiceKeyId>,
        rows: i64,
    ) -> Result<Vec<StoredServiceKey>, StoreError> {
        const SQL: &str = "SELECT id, name, hint, permissions, created_at, expires_at, \
            last_used_at FROM service_api_keys WHERE tenant_id = $1 AND user_id = $2 \
            AND revoked_at IS NULL AND ($3 IS NULL OR id > $3) ORDER BY id LIMIT $4";
        sql!(self, query_as(SQL, tenant, user, after, rows).fetch_all)
    }

    /// The user's keys in every tenant that were not revoked, oldest first.
    pub(crate) async fn service_keys_of(
        &self,
        user: UserId,
        rows: i64,
    ) -> Result<Vec<OwnServiceKey>, StoreError> {
        const SQL: &str = "SELECT tenant_id, id, name, hint, permissions, created_at, expires_at, \
            last_used_at FROM service_api_keys WHERE user_id = $1 AND revoked_at IS NULL \
            ORDER BY id LIMIT $2";
        sql!(self, query_as(SQL, user, rows).fetch_all)
    }

    /// Forgets the keys that were revoked before this time.
    pub(crate) async fn delete_revoked_service_keys(
        &self,
        before: UnixTime,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM service_api_keys WHERE revoked_at <= $1";
        sql!(self, query(SQL, before).execute)
    }

    pub(crate) async fn touch_service_key(
        &self,
        id: ServiceKeyId,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE service_api_keys SET last_used_at = $1 WHERE id = $2";
        sql!(self, query(SQL, now, id).execute).map(drop)
    }
}

impl Transaction {
    pub(crate) async fn insert_service_key(
        &mut self,
        new: &NewServiceKeyRow,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO service_api_keys (id, tenant_id, user_id, name, hint, \
            key_hash, permissions, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.tenant_id,
                new.user_id,
                &new.name,
                &new.hint,
                new.key_hash.as_slice(),
                &new.permissions,
                new.created_at,
                new.expires_at
            )
            .execute
        )
        .map(drop)
    }

    /// How many keys the member has that were not revoked.
    pub(crate) async fn count_service_keys(
        &mut self,
        (tenant, user): (TenantId, UserId),
    ) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM service_api_keys \
            WHERE tenant_id = $1 AND user_id = $2 AND revoked_at IS NULL";
        sql!(self, query_scalar(SQL, tenant, user).fetch_one)
    }

    /// Revokes one of the member's keys, and says whether there was one.
    pub(crate) async fn revoke_service_key(
        &mut self,
        (tenant, user): (TenantId, UserId),
        id: ServiceKeyId,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE service_api_keys SET revoked_at = $1 \
            WHERE id = $2 AND tenant_id = $3 AND user_id = $4 AND revoked_at IS NULL";
        let revoked = sql!(self, query(SQL, now, id, tenant, user).execute)?;
        Ok(revoked == 1)
    }
}
