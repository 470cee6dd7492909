//! Plans, which are data: the operator changes them without a new version.

use sqlx::FromRow;

use super::{Store, StoreError, TenantId, Transaction, sql};

/// A plan as it is stored; a limit that is `None` does not bind.
#[derive(Clone, FromRow)]
pub(crate) struct StoredPlan {
    #[sqlx(rename = "plan")]
    pub(crate) name: String,
    pub(crate) requests_per_minute: Option<i32>,
    pub(crate) vms: Option<i32>,
    pub(crate) storage_gb: Option<i32>,
    /// A JSON list.
    pub(crate) features: String,
}

impl Store {
    pub(crate) async fn plans(&self) -> Result<Vec<StoredPlan>, StoreError> {
        const SQL: &str = "SELECT name AS plan, requests_per_minute, vms, storage_gb, features \
            FROM plans ORDER BY COALESCE(requests_per_minute, 2147483647), name";
        sql!(self, query_as(SQL).fetch_all)
    }
}

impl Transaction {
    /// A plan, which nobody else changes until the transaction ends.
    pub(crate) async fn hold_plan(&mut self, name: &str) -> Result<Option<StoredPlan>, StoreError> {
        const SQL: &str = "UPDATE plans SET features = features WHERE name = $1 \
            RETURNING name AS plan, requests_per_minute, vms, storage_gb, features";
        sql!(self, query_as(SQL, name).fetch_optional)
    }

    pub(crate) async fn put_plan(&mut self, plan: &StoredPlan) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE plans SET requests_per_minute = $1, vms = $2, storage_gb = $3, \
            features = $4 WHERE name = $5";
        sql!(
            self,
            query(
                SQL,
                plan.requests_per_minute,
                plan.vms,
                plan.storage_gb,
                &plan.features,
                &plan.name
            )
            .execute
        )
        .map(drop)
    }

    /// How many VMs the tenant may still add; `None` without a bound. Until the transaction ends,
    /// nobody else adds one.
    pub(crate) async fn vms_left(&mut self, tenant: TenantId) -> Result<Option<i64>, StoreError> {
        // PostgreSQL locks the row; SQLite has one writer anyway.
        const LOCK: &str = "UPDATE tenants SET plan = plan WHERE id = $1";
        const SQL: &str = "SELECT p.vms - (SELECT COUNT(*) FROM vms v WHERE v.tenant_id = t.id) \
            FROM tenants t JOIN plans p ON p.name = t.plan WHERE t.id = $1";
        sql!(self, query(LOCK, tenant).execute)?;
        sql!(self, query_scalar(SQL, tenant).fetch_one)
    }

    /// Puts a tenant on a plan; `false` when there is no such tenant.
    pub(crate) async fn change_plan(
        &mut self,
        tenant: TenantId,
        plan: &str,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE tenants SET plan = $2 WHERE id = $1";
        let changed = sql!(self, query(SQL, tenant, plan).execute)?;
        Ok(changed == 1)
    }
}
