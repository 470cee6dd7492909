//! Changes and the end of an account, and what is known of it.

use serde::Serialize;
use sqlx::FromRow;

use super::{
    Store, StoreError, Target, TenantId, Transaction, UnixTime, UserId, VmId, folded, sql,
};
use crate::accounts::{Email, Username};

/// New values; what is none stays as it is.
pub(crate) struct AccountChange {
    pub(crate) username: Option<Username>,
    /// Not verified yet.
    pub(crate) email: Option<Email>,
    /// Empty: no name at all.
    pub(crate) full_name: Option<String>,
}

/// An event that the user caused.
#[derive(FromRow, Debug, Serialize, schemars::JsonSchema)]
pub(crate) struct OwnEvent {
    at: UnixTime,
    action: String,
    subject: Option<String>,
}

impl Store {
    /// The newest events that the user caused.
    pub(crate) async fn events_of(
        &self,
        actor: &str,
        rows: i64,
    ) -> Result<Vec<OwnEvent>, StoreError> {
        const SQL: &str = EVENTS_OF;
        sql!(self, query_as(SQL, actor, rows).fetch_all)
    }
}

impl Transaction {
    /// Holds the user's tenants: of two members who leave at once, one sees the other gone.
    pub(crate) async fn hold_tenants_of(&mut self, user: UserId) -> Result<(), StoreError> {
        const TENANTS: &str =
            "SELECT tenant_id FROM memberships WHERE user_id = $1 ORDER BY tenant_id";
        let tenants: Vec<TenantId> = sql!(self, query_scalar(TENANTS, user).fetch_all)?;
        for tenant in tenants {
            self.hold_tenant(tenant).await?;
        }
        Ok(())
    }

    /// Whether others would be left without an owner of their tenant.
    pub(crate) async fn is_last_owner(&mut self, user: UserId) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM memberships m WHERE m.user_id = $1 \
            AND m.role = 'owner' AND EXISTS (SELECT 1 FROM memberships o \
            WHERE o.tenant_id = m.tenant_id AND o.user_id <> $1) \
            AND NOT EXISTS (SELECT 1 FROM memberships o WHERE o.tenant_id = m.tenant_id \
            AND o.user_id <> $1 AND o.role = 'owner')";
        let count: i64 = sql!(self, query_scalar(SQL, user).fetch_one)?;
        Ok(count > 0)
    }

    /// The machines of the tenants that have no other member.
    pub(crate) async fn vms_of_user_alone(
        &mut self,
        user: UserId,
    ) -> Result<Vec<(TenantId, VmId)>, StoreError> {
        const SQL: &str = "SELECT v.tenant_id, v.id FROM vms v JOIN memberships m \
            ON m.tenant_id = v.tenant_id WHERE m.user_id = $1 AND NOT EXISTS \
            (SELECT 1 FROM memberships o WHERE o.tenant_id = v.tenant_id AND o.user_id <> $1)";
        sql!(self, query_as(SQL, user).fetch_all)
    }

    pub(crate) async fn change_account(
        &mut self,
        user: UserId,
        change: &AccountChange,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE users SET username = COALESCE($1, username), \
            username_key = COALESCE($2, username_key), \
            email_verified = CASE WHEN $4 IS NULL OR $4 = email_key THEN email_verified \
            ELSE $7 END, \
            email = COALESCE($3, email), email_key = COALESCE($4, email_key), \
            full_name = NULLIF(COALESCE($5, full_name), ''), \
            full_name_key = NULLIF(COALESCE($8, full_name_key), '') WHERE id = $6";
        let (username, email) = (change.username.as_ref(), change.email.as_ref());
        sql!(
            self,
            query(
                SQL,
                username.map(Username::text),
                username.map(Username::key),
                email.map(Email::text),
                email.map(Email::key),
                &change.full_name,
                user,
                false,
                change.full_name.as_deref().map(folded)
            )
            .execute
        )
        .map(drop)
    }

    /// Holds the user, then every session that goes with them, ended ones too, by their ids: rows
    /// that go with others go as they come. SQLite has one writer anyway.
    pub(crate) async fn hold_to_delete(&mut self, user: UserId) -> Result<(), StoreError> {
        const USER: &str = "UPDATE users SET status = status WHERE id = $1";
        const SESSIONS: &str = "SELECT s.id FROM sessions s WHERE s.user_id = $1 OR s.tenant_id IN \
            (SELECT m.tenant_id FROM memberships m WHERE m.user_id = $1 AND NOT EXISTS \
            (SELECT 1 FROM memberships o WHERE o.tenant_id = m.tenant_id AND o.user_id <> $1)) \
            ORDER BY s.id FOR UPDATE";
        if matches!(self.target(), Target::Postgres(_)) {
            for sql in [USER, SESSIONS] {
                sql!(self, query(sql, user).execute)?;
            }
        }
        Ok(())
    }

    /// Forgets the user with the invitations that they sent, and the tenants that have no other
    /// member with all that they hold.
    pub(crate) async fn delete_account(&mut self, user: UserId) -> Result<(), StoreError> {
        const TENANTS: &str = "DELETE FROM tenants WHERE id IN \
            (SELECT m.tenant_id FROM memberships m WHERE m.user_id = $1 AND NOT EXISTS \
            (SELECT 1 FROM memberships o WHERE o.tenant_id = m.tenant_id AND o.user_id <> $1))";
        const INVITATIONS: &str = "DELETE FROM invitations WHERE invited_by = $1";
        const USER: &str = "DELETE FROM users WHERE id = $1";
        // That there was one is still known, so that no import brings it back.
        const NAMES: &str = "UPDATE imported_rows SET names_hash = NULL \
            WHERE kind = 'user' AND local_id = $1";
        for sql in [TENANTS, INVITATIONS, USER, NAMES] {
            sql!(self, query(sql, user).execute)?;
        }
        Ok(())
    }
}

const EVENTS_OF: &str = "SELECT at, action, subject FROM audit_events WHERE actor = $1 \
    ORDER BY at DESC, id DESC LIMIT $2";

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, Row};

    use super::{EVENTS_OF, Store};
    use crate::store::Target;

    #[tokio::test]
    async fn what_one_user_did_is_found_without_reading_what_others_did() {
        let store = Store::open_in_memory().await;
        let Target::Sqlite(pool) = store.target() else {
            panic!("it is SQLite")
        };
        let sql = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {EVENTS_OF}"));
        let plan = sqlx::query(sql).bind("user:x").bind(1).fetch_all(pool);
        let plan: Vec<String> = plan.await.unwrap().iter().map(|row| row.get(3)).collect();
        let plan = plan.join(", ");
        assert!(plan.contains("(actor=?)"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
