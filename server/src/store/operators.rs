//! What only the operators of this server ask: over all tenants.

use schemars::JsonSchema;
use serde::Serialize;
use sqlx::FromRow;

use super::{Store, StoreError, TenantId, UnixTime, UserId, sql};

macro_rules! account_where {
    ($condition:literal) => {
        concat!(
            "SELECT u.id, u.username, u.email, u.full_name, u.status, u.email_verified, \
             u.failed_login_attempts, u.locked_until, u.server_admin, u.created_at, u.last_login_at, \
             (SELECT COUNT(*) FROM totp t WHERE t.user_id = u.id AND t.confirmed_at IS NOT NULL) \
             AS second_factors, \
             (SELECT COUNT(*) FROM memberships m WHERE m.user_id = u.id) AS tenants \
             FROM users u WHERE ",
            $condition
        )
    };
}

macro_rules! tenant_where {
    ($condition:literal) => {
        concat!(
            "SELECT t.id, t.name, t.plan, t.created_at, \
             (SELECT COUNT(*) FROM memberships m WHERE m.tenant_id = t.id) AS members, \
             (SELECT COUNT(*) FROM provider_keys k WHERE k.tenant_id = t.id) AS keys, \
             (SELECT COUNT(*) FROM vms v WHERE v.tenant_id = t.id) AS vms \
             FROM tenants t WHERE ",
            $condition
        )
    };
}

/// An account with what an operator may know of it.
#[derive(FromRow)]
pub(crate) struct StoredAccount {
    pub(crate) id: UserId,
    pub(crate) username: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) full_name: Option<String>,
    pub(crate) status: String,
    pub(crate) email_verified: bool,
    pub(crate) failed_login_attempts: i32,
    pub(crate) locked_until: Option<UnixTime>,
    pub(crate) server_admin: bool,
    pub(crate) created_at: UnixTime,
    pub(crate) last_login_at: Option<UnixTime>,
    pub(crate) second_factors: i64,
    pub(crate) tenants: i64,
}

/// A tenant and how much it has.
#[derive(FromRow)]
pub(crate) struct StoredTenant {
    pub(crate) id: TenantId,
    pub(crate) name: String,
    pub(crate) plan: String,
    pub(crate) created_at: UnixTime,
    pub(crate) members: i64,
    pub(crate) keys: i64,
    pub(crate) vms: i64,
}

/// How much there is. Sessions and API keys are those that have not ended.
#[derive(Debug, FromRow, Serialize, JsonSchema)]
pub(crate) struct Counts {
    users: i64,
    pending_users: i64,
    disabled_users: i64,
    server_admins: i64,
    tenants: i64,
    sessions: i64,
    api_keys: i64,
    keys: i64,
    vms: i64,
    vms_cut_off: i64,
}

impl Store {
    pub(crate) async fn is_server_admin(&self, id: UserId) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM users WHERE id = $1 AND server_admin = $2";
        let count: i64 = sql!(self, query_scalar(SQL, id, true).fetch_one)?;
        Ok(count > 0)
    }

    pub(crate) async fn account(&self, id: UserId) -> Result<Option<StoredAccount>, StoreError> {
        const SQL: &str = account_where!("u.id = $1");
        sql!(self, query_as(SQL, id).fetch_optional)
    }

    /// The accounts after this one of whose folded names one fits a pattern.
    pub(crate) async fn accounts(
        &self,
        after: UserId,
        rows: i64,
        pattern: &str,
    ) -> Result<Vec<StoredAccount>, StoreError> {
        const SQL: &str = account_where!(
            "u.id > $1 AND (u.username_key LIKE $3 ESCAPE '\\' OR u.email_key LIKE $3 ESCAPE '\\' \
             OR u.full_name_key LIKE $3 ESCAPE '\\') ORDER BY u.id LIMIT $2"
        );
        sql!(self, query_as(SQL, after, rows, pattern).fetch_all)
    }

    pub(crate) async fn tenant(&self, id: TenantId) -> Result<Option<StoredTenant>, StoreError> {
        const SQL: &str = tenant_where!("t.id = $1");
        sql!(self, query_as(SQL, id).fetch_optional)
    }

    /// The tenants after this one whose folded name fits a pattern.
    pub(crate) async fn tenants(
        &self,
        after: TenantId,
        rows: i64,
        pattern: &str,
    ) -> Result<Vec<StoredTenant>, StoreError> {
        const SQL: &str =
            tenant_where!("t.id > $1 AND t.name_key LIKE $3 ESCAPE '\\' ORDER BY t.id LIMIT $2");
        sql!(self, query_as(SQL, after, rows, pattern).fetch_all)
    }

    pub(crate) async fn counts(&self, now: UnixTime) -> Result<Counts, StoreError> {
        const SQL: &str = "SELECT (SELECT COUNT(*) FROM users) AS users, \
            (SELECT COUNT(*) FROM users WHERE status = 'pending') AS pending_users, \
            (SELECT COUNT(*) FROM users WHERE status = 'disabled') AS disabled_users, \
            (SELECT COUNT(*) FROM users WHERE server_admin = $2) AS server_admins, \
            (SELECT COUNT(*) FROM tenants) AS tenants, \
            (SELECT COUNT(*) FROM sessions WHERE ended_at IS NULL AND expires_at > $1) \
            AS sessions, \
            (SELECT COUNT(*) FROM service_api_keys WHERE revoked_at IS NULL \
            AND (expires_at IS NULL OR expires_at > $1)) AS api_keys, \
            (SELECT COUNT(*) FROM provider_keys WHERE status = 'active') AS keys, \
            (SELECT COUNT(*) FROM vms) AS vms, \
            (SELECT COUNT(*) FROM vms WHERE status = 'cut_off') AS vms_cut_off";
        sql!(self, query_as(SQL, now, true).fetch_one)
    }
}
