//! Sign-ins and their refresh tokens.

use sqlx::FromRow;
use uuid::Uuid;

use super::{
    DeviceId, SessionId, Store, StoreError, TenantId, Transaction, UnixTime, UserId, owes_factor,
    sql,
};

macro_rules! live_session_where {
    ($condition:literal) => {
        concat!(
            "SELECT s.id, s.tenant_id, s.user_id, m.role, r.permissions, p.requests_per_minute, ",
            owes_factor!(),
            " FROM sessions s JOIN users u ON u.id = s.user_id \
             JOIN memberships m ON m.user_id = s.user_id AND m.tenant_id = s.tenant_id \
             JOIN tenants t ON t.id = m.tenant_id JOIN plans p ON p.name = t.plan \
             LEFT JOIN roles r ON r.tenant_id = m.tenant_id AND r.name = m.role WHERE ",
            $condition,
            " AND s.ended_at IS NULL AND s.expires_at > $2 AND u.status = 'active'"
        )
    };
}

/// A sign-in to be.
pub(crate) struct NewSession {
    pub(crate) id: SessionId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) token_hash: [u8; 32],
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) device_id: Option<DeviceId>,
}

/// A refresh token to be.
pub(crate) struct NewRefreshToken {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: TenantId,
    pub(crate) session_id: SessionId,
    pub(crate) token_hash: [u8; 32],
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

/// A sign-in that has not ended, with what its user may do now.
#[derive(FromRow)]
pub(crate) struct LiveSession {
    pub(crate) id: SessionId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) role: String,
    /// What the role permits, when it is the tenant's own.
    pub(crate) permissions: Option<String>,
    pub(crate) requests_per_minute: Option<i32>,
    /// Whether the tenant demands a second factor that the user does not have.
    pub(crate) owes_factor: bool,
}

/// A refresh token of a session that has not ended.
#[derive(FromRow)]
pub(crate) struct StoredRefreshToken {
    pub(crate) id: Uuid,
    pub(crate) session_id: SessionId,
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) used_at: Option<UnixTime>,
    pub(crate) successor_salt: Option<Vec<u8>>,
}

impl Store {
    /// The session, unless it has ended or its user is no longer active.
    pub(crate) async fn live_session(
        &self,
        id: SessionId,
        now: UnixTime,
    ) -> Result<Option<LiveSession>, StoreError> {
        const SQL: &str = live_session_where!("s.id = $1");
        sql!(self, query_as(SQL, id, now).fetch_optional)
    }

    /// The same, by its opaque token.
    pub(crate) async fn live_session_by_token(
        &self,
        token_hash: &[u8; 32],
        now: UnixTime,
    ) -> Result<Option<LiveSession>, StoreError> {
        const SQL: &str = live_session_where!("s.token_hash = $1");
        sql!(
            self,
            query_as(SQL, token_hash.as_slice(), now).fetch_optional
        )
    }

    /// A refresh token that has not expired, used or not.
    pub(crate) async fn refresh_token(
        &self,
        token_hash: &[u8; 32],
        now: UnixTime,
    ) -> Result<Option<StoredRefreshToken>, StoreError> {
        const SQL: &str = "SELECT r.id, r.session_id, r.tenant_id, s.user_id, r.used_at, \
            r.successor_salt FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id \
            WHERE r.token_hash = $1 AND r.expires_at > $2 AND s.ended_at IS NULL";
        sql!(
            self,
            query_as(SQL, token_hash.as_slice(), now).fetch_optional
        )
    }
}

impl Transaction {
    pub(crate) async fn insert_session(&mut self, new: &NewSession) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO sessions \
            (id, tenant_id, user_id, token_hash, created_at, expires_at, last_seen_at, \
            address, user_agent, device_id) VALUES ($1, $2, $3, $4, $5, $6, $5, $7, $8, $9)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.tenant_id,
                new.user_id,
                new.token_hash.as_slice(),
                new.created_at,
                new.expires_at,
                new.address.as_deref(),
                new.user_agent.as_deref(),
                new.device_id
            )
            .execute
        )
        .map(drop)
    }

    pub(crate) async fn insert_refresh_token(
        &mut self,
        new: &NewRefreshToken,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO refresh_tokens \
            (id, tenant_id, session_id, token_hash, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5, $6)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.tenant_id,
                new.session_id,
                new.token_hash.as_slice(),
                new.created_at,
                new.expires_at
            )
            .execute
        )
        .map(drop)
    }

    /// Marks the token as used. Of several callers at once one gets `true`.
    pub(crate) async fn use_refresh_token(
        &mut self,
        id: Uuid,
        now: UnixTime,
        successor_salt: &[u8; 32],
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE refresh_tokens SET used_at = $1, successor_salt = $2 \
            WHERE id = $3 AND used_at IS NULL";
        let used = sql!(self, query(SQL, now, successor_salt.as_slice(), id).execute)?;
        Ok(used == 1)
    }

    /// Moves the end of the session, unless it has ended.
    pub(crate) async fn extend_session(
        &mut self,
        id: SessionId,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE sessions SET expires_at = $1 WHERE id = $2 AND ended_at IS NULL";
        sql!(self, query(SQL, until, id).execute).map(drop)
    }

    /// Ends the session, and with it every token that it gave out.
    pub(crate) async fn end_session(
        &mut self,
        id: SessionId,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL";
        sql!(self, query(SQL, now, id).execute).map(drop)
    }
}
