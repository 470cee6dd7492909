//! What a database that was brought back must not revive, and what waits for an operator's word.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use sqlx::FromRow;

use super::{Store, StoreError, TenantId, Transaction, UnixTime, sql};

/// Something that waits.
#[derive(FromRow, Serialize)]
pub(crate) struct HeldBackRow {
    pub(crate) kind: String,
    pub(crate) tenant_id: TenantId,
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) version: i64,
    /// When it last changed, as far as the database remembers.
    pub(crate) changed_at: UnixTime,
}

impl Display for HeldBackRow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.version {
            0 => write!(f, "{} {}", self.kind, self.name),
            version => write!(f, "{} {} version {version}", self.kind, self.name),
        }
    }
}

impl Store {
    /// What waits, of one tenant or of all.
    pub(crate) async fn held_back(
        &self,
        tenant: Option<TenantId>,
    ) -> Result<Vec<HeldBackRow>, StoreError> {
        const SQL: &str = "SELECT 'key' AS kind, t.id AS tenant_id, t.name AS tenant, \
            k.name AS name, v.version AS version, v.created_at AS changed_at FROM key_versions v \
            JOIN provider_keys k ON k.id = v.key_id JOIN tenants t ON t.id = v.tenant_id \
            WHERE v.held_back_at IS NOT NULL AND v.destroyed_at IS NULL \
            AND ($1 = $2 OR t.id = $1) \
            UNION ALL SELECT 'api key', t.id, t.name, a.name, CAST(0 AS BIGINT), a.created_at \
            FROM service_api_keys a JOIN tenants t ON t.id = a.tenant_id \
            WHERE a.held_back_at IS NOT NULL AND a.revoked_at IS NULL AND ($1 = $2 OR t.id = $1) \
            UNION ALL SELECT 'vm', t.id, t.name, m.name, CAST(0 AS BIGINT), m.created_at \
            FROM vms m JOIN tenants t ON t.id = m.tenant_id \
            WHERE m.held_back_at IS NOT NULL AND ($1 = $2 OR t.id = $1) ORDER BY 3, 1, 4, 5";
        let any = TenantId::ANY;
        sql!(self, query_as(SQL, tenant.unwrap_or(any), any).fetch_all)
    }
}

impl Transaction {
    /// Ends every session and every way in, and holds back what may have been revoked since.
    pub(crate) async fn shut_out_the_revived(&mut self, now: UnixTime) -> Result<u64, StoreError> {
        const AT: [&str; 4] = [
            "UPDATE sessions SET ended_at = $1 WHERE ended_at IS NULL",
            "UPDATE key_versions SET held_back_at = $1 WHERE destroyed_at IS NULL",
            "UPDATE service_api_keys SET held_back_at = $1 WHERE revoked_at IS NULL",
            "UPDATE vms SET held_back_at = $1, status = 'cut_off' WHERE status = 'active'",
        ];
        const GONE: [&str; 10] = [
            "DELETE FROM refresh_tokens",
            "DELETE FROM tickets",
            "DELETE FROM reattach_credentials",
            "DELETE FROM mfa_challenges",
            "DELETE FROM email_tokens",
            "DELETE FROM recovery_codes",
            "DELETE FROM provider_sign_ins",
            "DELETE FROM invitations",
            "DELETE FROM enrolment_requests",
            "DELETE FROM pending_alerts",
        ];
        let mut rows = 0;
        for statement in AT {
            rows += sql!(self, query(statement, now).execute)?;
        }
        for statement in GONE {
            rows += sql!(self, query(statement).execute)?;
        }
        Ok(rows)
    }

    /// Ends the server's own keys, for somebody may know those that live again; who looks next makes
    /// new ones.
    pub(crate) async fn end_own_keys(&mut self) -> Result<(), StoreError> {
        const ENDED: [&str; 2] = [
            "UPDATE signing_keys SET status = 'retired', salt = $1, secret = $1 \
             WHERE status <> 'retired'",
            "UPDATE server_keys SET status = 'retired', salt = $1, secret = $1 \
             WHERE status <> 'retired'",
        ];
        for statement in ENDED {
            sql!(self, query(statement, b"".as_slice()).execute)?;
        }
        Ok(())
    }

    /// Lets what waits live on, of one tenant or of all.
    pub(crate) async fn confirm_held_back(
        &mut self,
        tenant: Option<TenantId>,
    ) -> Result<(), StoreError> {
        const CONFIRM: [&str; 3] = [
            "UPDATE key_versions SET held_back_at = NULL \
             WHERE held_back_at IS NOT NULL AND ($1 = $2 OR tenant_id = $1)",
            "UPDATE service_api_keys SET held_back_at = NULL \
             WHERE held_back_at IS NOT NULL AND ($1 = $2 OR tenant_id = $1)",
            "UPDATE vms SET held_back_at = NULL, status = 'active' \
             WHERE held_back_at IS NOT NULL AND ($1 = $2 OR tenant_id = $1)",
        ];
        let any = TenantId::ANY;
        for statement in CONFIRM {
            sql!(self, query(statement, tenant.unwrap_or(any), any).execute)?;
        }
        Ok(())
    }
}
