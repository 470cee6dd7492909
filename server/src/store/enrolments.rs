//! Agents that wait for a person's approval.

use sqlx::FromRow;

use super::{EnrolmentId, Store, StoreError, TenantId, Transaction, UnixTime, UserId, VmId, sql};

/// A request to be.
pub(crate) struct NewEnrolment<'a> {
    pub(crate) id: EnrolmentId,
    pub(crate) code: &'a str,
    pub(crate) device_hash: [u8; 32],
    pub(crate) agent_key: [u8; 32],
    pub(crate) name: Option<&'a str>,
    pub(crate) address: Option<String>,
    /// Whose it is to decide; anybody's who knows the code when it names nobody.
    pub(crate) tenant: Option<TenantId>,
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
}

/// A request, decided or not.
#[derive(FromRow)]
pub(crate) struct StoredEnrolment {
    pub(crate) id: EnrolmentId,
    pub(crate) code: String,
    pub(crate) agent_key: Vec<u8>,
    pub(crate) name: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) status: String,
    pub(crate) vm_id: Option<VmId>,
    pub(crate) decided_by: Option<UserId>,
    pub(crate) created_at: UnixTime,
    pub(crate) expires_at: UnixTime,
    pub(crate) polled_at: Option<UnixTime>,
}

/// What a person has decided.
pub(crate) struct Decision {
    pub(crate) tenant: TenantId,
    pub(crate) status: &'static str,
    pub(crate) vm: Option<VmId>,
    pub(crate) by: UserId,
    pub(crate) at: UnixTime,
}

impl Store {
    /// The request of this code that a tenant may see: its own, or one that nobody has decided
    /// and that names no other tenant.
    pub(crate) async fn enrolment(
        &self,
        tenant: TenantId,
        code: &str,
        now: UnixTime,
    ) -> Result<Option<StoredEnrolment>, StoreError> {
        const SQL: &str = "SELECT id, code, agent_key, name, address, tenant_id, status, vm_id, \
            decided_by, created_at, expires_at, polled_at FROM enrolment_requests \
            WHERE code = $1 AND expires_at > $2 AND (tenant_id = $3 OR tenant_id IS NULL)";
        sql!(self, query_as(SQL, code, now, tenant).fetch_optional)
    }

    pub(crate) async fn enrolment_of_device(
        &self,
        device_hash: &[u8; 32],
    ) -> Result<Option<StoredEnrolment>, StoreError> {
        const SQL: &str = "SELECT id, code, agent_key, name, address, tenant_id, status, vm_id, \
            decided_by, created_at, expires_at, polled_at FROM enrolment_requests \
            WHERE device_hash = $1";
        sql!(self, query_as(SQL, device_hash.as_slice()).fetch_optional)
    }

    /// Those that name this tenant, or that it has decided, oldest first.
    pub(crate) async fn enrolments(
        &self,
        (tenant, now): (TenantId, UnixTime),
        after: EnrolmentId,
        rows: i64,
    ) -> Result<Vec<StoredEnrolment>, StoreError> {
        const SQL: &str = "SELECT id, code, agent_key, name, address, tenant_id, status, vm_id, \
            decided_by, created_at, expires_at, polled_at FROM enrolment_requests \
            WHERE tenant_id = $1 AND expires_at > $2 AND id > $3 ORDER BY id LIMIT $4";
        sql!(self, query_as(SQL, tenant, now, after, rows).fetch_all)
    }

    /// How many wait: in all, and for this tenant.
    pub(crate) async fn waiting_enrolments(
        &self,
        tenant: Option<TenantId>,
        now: UnixTime,
    ) -> Result<(i64, i64), StoreError> {
        const SQL: &str = "SELECT COUNT(*), COUNT(CASE WHEN tenant_id = $1 THEN 1 END) \
            FROM enrolment_requests WHERE expires_at > $2 AND status = 'pending'";
        sql!(self, query_as(SQL, tenant, now).fetch_one)
    }

    pub(crate) async fn insert_enrolment(&self, new: &NewEnrolment<'_>) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO enrolment_requests (id, code, device_hash, agent_key, \
            name, address, tenant_id, status, created_at, expires_at) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8, $9)";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.code,
                new.device_hash.as_slice(),
                new.agent_key.as_slice(),
                new.name,
                new.address.as_deref(),
                new.tenant,
                new.created_at,
                new.expires_at
            )
            .execute
        )
        .map(drop)
    }

    pub(crate) async fn note_poll(&self, id: EnrolmentId, at: UnixTime) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE enrolment_requests SET polled_at = $2 WHERE id = $1";
        sql!(self, query(SQL, id, at).execute).map(drop)
    }

    /// Forgets requests that ended before `before`.
    pub(crate) async fn delete_ended_enrolments(
        &self,
        before: UnixTime,
    ) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM enrolment_requests WHERE expires_at < $1";
        sql!(self, query(SQL, before).execute)
    }
}

impl Transaction {
    /// Decides a request; of several callers at once one gets `true`.
    pub(crate) async fn decide_enrolment(
        &mut self,
        id: EnrolmentId,
        decision: &Decision,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE enrolment_requests SET tenant_id = $2, status = $3, vm_id = $4, \
            decided_by = $5 WHERE id = $1 AND status = 'pending' AND expires_at > $6 \
            AND (tenant_id IS NULL OR tenant_id = $2)";
        let rows = sql!(
            self,
            query(
                SQL,
                id,
                decision.tenant,
                decision.status,
                decision.vm,
                decision.by,
                decision.at
            )
            .execute
        )?;
        Ok(rows == 1)
    }
}
