//! Virtual machines. Every query names the tenant.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, TenantId, Transaction, UnixTime, UserId, VmId, sql};

/// A VM, as its owners know it.
#[derive(FromRow)]
pub(crate) struct StoredVm {
    pub(crate) id: VmId,
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) created_at: UnixTime,
    pub(crate) last_seen_at: Option<UnixTime>,
    pub(crate) protection: Option<String>,
    pub(crate) agent_version: Option<String>,
    pub(crate) suspected_clone: bool,
    /// Until when an agent counts as connected, unless it leaves or is seen again.
    pub(crate) session_until: Option<UnixTime>,
}

/// What a VM's agent said of itself.
pub(crate) struct Seen<'a> {
    pub(crate) session: Uuid,
    pub(crate) at: UnixTime,
    /// When it is seen again at the latest.
    pub(crate) until: UnixTime,
    pub(crate) protection: &'a str,
    pub(crate) agent_version: &'a str,
}

impl Store {
    pub(crate) async fn vm(
        &self,
        tenant: TenantId,
        id: VmId,
    ) -> Result<Option<StoredVm>, StoreError> {
        const SQL: &str = "SELECT id, name, status, created_at, last_seen_at, protection, \
            agent_version, suspected_clone, session_until FROM vms WHERE tenant_id = $1 AND id = $2";
        sql!(self, query_as(SQL, tenant, id).fetch_optional)
    }

    pub(crate) async fn vm_named(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<StoredVm>, StoreError> {
        const SQL: &str = "SELECT id, name, status, created_at, last_seen_at, protection, \
            agent_version, suspected_clone, session_until FROM vms WHERE tenant_id = $1 AND name = $2";
        sql!(self, query_as(SQL, tenant, name).fetch_optional)
    }

    pub(crate) async fn vms(
        &self,
        tenant: TenantId,
        after: &str,
        rows: i64,
    ) -> Result<Vec<StoredVm>, StoreError> {
        const SQL: &str = "SELECT id, name, status, created_at, last_seen_at, protection, \
            agent_version, suspected_clone, session_until FROM vms \
            WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3";
        sql!(self, query_as(SQL, tenant, after, rows).fetch_all)
    }

    /// Every VM of this name or id, of whatever tenant: for the operator alone.
    pub(crate) async fn vms_of_any_tenant(
        &self,
        name: &str,
        id: Option<VmId>,
    ) -> Result<Vec<(TenantId, VmId)>, StoreError> {
        const SQL: &str = "SELECT tenant_id, id FROM vms WHERE name = $1 OR id = $2 ORDER BY id";
        sql!(self, query_as(SQL, name, id).fetch_all)
    }
}

impl Transaction {
    /// Notes that the agent of this VM is there.
    pub(crate) async fn touch_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
        seen: &Seen<'_>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE vms SET last_seen_at = $3, protection = $4, agent_version = $5, \
            session_id = $6, session_until = $7 WHERE tenant_id = $1 AND id = $2";
        sql!(
            self,
            query(
                SQL,
                tenant,
                id,
                seen.at,
                seen.protection,
                seen.agent_version,
                seen.session,
                seen.until
            )
            .execute
        )
        .map(drop)
    }

    /// Notes that this session of the VM's agent is over, unless another has begun.
    pub(crate) async fn leave_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
        session: Uuid,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE vms SET session_id = NULL, session_until = NULL \
            WHERE tenant_id = $1 AND id = $2 AND session_id = $3";
        sql!(self, query(SQL, tenant, id, session).execute).map(drop)
    }

    pub(crate) async fn insert_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
        name: &str,
        (created_by, created_at): (UserId, UnixTime),
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO vms \
            (id, tenant_id, name, status, created_by, created_at, suspected_clone) \
            VALUES ($1, $2, $3, 'active', $4, $5, $6)";
        sql!(
            self,
            query(SQL, id, tenant, name, created_by, created_at, false).execute
        )
        .map(drop)
    }

    /// Whether the VM is active, which it stays until this transaction ends.
    pub(crate) async fn hold_active_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE vms SET status = status \
            WHERE tenant_id = $1 AND id = $2 AND status = 'active'";
        let rows = sql!(self, query(SQL, tenant, id).execute)?;
        Ok(rows == 1)
    }

    pub(crate) async fn rename_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
        name: &str,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE vms SET name = $3 WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, id, name).execute).map(drop)
    }

    /// Sets a VM active again, and takes it for no clone any more.
    pub(crate) async fn activate_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE vms SET status = 'active', held_back_at = NULL, suspected_clone = $3 \
            WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, id, false).execute).map(drop)
    }

    pub(crate) async fn cut_off_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE vms SET status = 'cut_off', held_back_at = NULL WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, id).execute).map(drop)
    }

    pub(crate) async fn mark_suspected_clone(
        &mut self,
        (tenant, id): (TenantId, VmId),
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE vms SET suspected_clone = $3 WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, id, true).execute).map(drop)
    }

    pub(crate) async fn delete_vm(
        &mut self,
        (tenant, id): (TenantId, VmId),
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM vms WHERE tenant_id = $1 AND id = $2";
        sql!(self, query(SQL, tenant, id).execute).map(drop)
    }
}
