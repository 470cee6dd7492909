//! Sessions as their user sees them, and how many end at once.

use sqlx::FromRow;

use super::{SessionId, Store, StoreError, Target, TenantId, Transaction, UnixTime, UserId, sql};

/// A session of a user that has not ended.
#[derive(FromRow)]
pub(crate) struct StoredSession {
    pub(crate) id: SessionId,
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) created_at: UnixTime,
    pub(crate) last_seen_at: Option<UnixTime>,
    pub(crate) expires_at: UnixTime,
}

/// Where a session began.
#[derive(FromRow)]
pub(crate) struct SessionPlace {
    pub(crate) tenant_id: TenantId,
    pub(crate) user_id: UserId,
    pub(crate) address: Option<String>,
    pub(crate) user_agent: Option<String>,
}

impl Store {
    pub(crate) async fn session_place(
        &self,
        id: SessionId,
    ) -> Result<Option<SessionPlace>, StoreError> {
        const SQL: &str =
            "SELECT tenant_id, user_id, address, user_agent FROM sessions WHERE id = $1";
        sql!(self, query_as(SQL, id).fetch_optional)
    }

    /// The user's sessions that have not ended, newest first.
    pub(crate) async fn sessions_of(
        &self,
        user: UserId,
        now: UnixTime,
        (before, limit): (Option<SessionId>, i64),
    ) -> Result<Vec<StoredSession>, StoreError> {
        const SQL: &str = "SELECT id, address, user_agent, created_at, last_seen_at, expires_at \
            FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 \
            AND id < $3 ORDER BY id DESC LIMIT $4";
        sql!(
            self,
            query_as(SQL, user, now, before.unwrap_or(SessionId::LAST), limit).fetch_all
        )
    }

    /// Forgets sessions, with their refresh tokens, that ended before this time, and refresh
    /// tokens that can be of no use to anyone.
    pub(crate) async fn delete_ended_sessions(
        &self,
        before: UnixTime,
        now: UnixTime,
    ) -> Result<u64, StoreError> {
        const SQLITE: [&str; 2] = [
            "DELETE FROM sessions WHERE expires_at <= $1 OR ended_at <= $1",
            "DELETE FROM refresh_tokens WHERE expires_at <= $1",
        ];
        // Its rows come in no order: what somebody holds stays for the next sweep.
        const POSTGRES: [&str; 2] = [
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions \
             WHERE expires_at <= $1 OR ended_at <= $1 FOR UPDATE SKIP LOCKED)",
            "DELETE FROM refresh_tokens WHERE id IN (SELECT id FROM refresh_tokens \
             WHERE expires_at <= $1 FOR UPDATE SKIP LOCKED)",
        ];
        let [sessions, tokens] = match self.target() {
            Target::Postgres(_) => POSTGRES,
            Target::Sqlite(_) => SQLITE,
        };
        let mut rows = 0;
        for (sql, time) in [(sessions, before), (tokens, now)] {
            rows += sql!(self, query(sql, time).execute)?;
        }
        Ok(rows)
    }
}

impl Transaction {
    /// Ends one session, unless it is another user's or has ended.
    pub(crate) async fn end_own_session(
        &mut self,
        user: UserId,
        id: SessionId,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE sessions SET ended_at = $1 \
            WHERE id = $2 AND user_id = $3 AND ended_at IS NULL AND expires_at > $1";
        let ended = sql!(self, query(SQL, now, id, user).execute)?;
        Ok(ended == 1)
    }

    /// Ends every session of the user except one, and tells which.
    pub(crate) async fn end_sessions(
        &mut self,
        user: UserId,
        keep: Option<SessionId>,
        now: UnixTime,
    ) -> Result<Vec<SessionId>, StoreError> {
        const SQL: &str = "UPDATE sessions SET ended_at = $1 \
            WHERE user_id = $2 AND id <> $3 AND ended_at IS NULL RETURNING id";
        self.hold_sessions(user).await?;
        sql!(
            self,
            query_scalar(SQL, now, user, keep.unwrap_or(SessionId::LAST)).fetch_all
        )
    }

    /// Ends every session of the user in one tenant, and tells which.
    pub(crate) async fn end_sessions_in(
        &mut self,
        (tenant, user): (TenantId, UserId),
        now: UnixTime,
    ) -> Result<Vec<SessionId>, StoreError> {
        const SQL: &str = "UPDATE sessions SET ended_at = $1 \
            WHERE tenant_id = $2 AND user_id = $3 AND ended_at IS NULL RETURNING id";
        self.hold_sessions(user).await?;
        sql!(self, query_scalar(SQL, now, tenant, user).fetch_all)
    }

    /// Ends all of the user's sessions but so many, those that were used last, and tells which
    /// and of which tenants.
    pub(crate) async fn end_sessions_but(
        &mut self,
        user: UserId,
        most: i64,
        now: UnixTime,
    ) -> Result<Vec<(SessionId, TenantId)>, StoreError> {
        const SQL: &str = "UPDATE sessions SET ended_at = $1 WHERE user_id = $2 \
            AND ended_at IS NULL AND expires_at > $1 AND id NOT IN (SELECT s.id FROM sessions s \
            WHERE s.user_id = $2 AND s.ended_at IS NULL AND s.expires_at > $1 \
            ORDER BY COALESCE(s.last_seen_at, s.created_at) DESC, s.id DESC LIMIT $3) \
            RETURNING id, tenant_id";
        self.hold_sessions(user).await?;
        sql!(self, query_as(SQL, now, user, most).fetch_all)
    }

    /// Holds the user's sessions by their ids, as those are that were used: an update of many rows
    /// takes them as they come. SQLite has one writer anyway.
    async fn hold_sessions(&mut self, user: UserId) -> Result<(), StoreError> {
        const SQL: &str = "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL \
            ORDER BY id FOR NO KEY UPDATE";
        if matches!(self.target(), Target::Postgres(_)) {
            sql!(self, query(SQL, user).execute)?;
        }
        Ok(())
    }

    /// The same with the user before them, and ended ones among them: the end of a device touches
    /// those too.
    pub(crate) async fn hold_every_session(&mut self, user: UserId) -> Result<(), StoreError> {
        const USER: &str = "UPDATE users SET status = status WHERE id = $1";
        const SQL: &str = "SELECT id FROM sessions WHERE user_id = $1 \
            ORDER BY id FOR NO KEY UPDATE";
        if matches!(self.target(), Target::Postgres(_)) {
            for sql in [USER, SQL] {
                sql!(self, query(sql, user).execute)?;
            }
        }
        Ok(())
    }

    /// Notes that the session was used.
    pub(crate) async fn note_session_seen(
        &mut self,
        id: SessionId,
        at: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE sessions SET last_seen_at = $1 WHERE id = $2";
        sql!(self, query(SQL, at, id).execute).map(drop)
    }
}
