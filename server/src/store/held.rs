//! What each VM was last told about each version of a key, and what it acknowledged.

use sqlx::FromRow;

use super::{ProviderKeyId, Store, StoreError, TenantId, Transaction, UnixTime, VmId, sql};

/// One version, as one VM has it.
#[derive(FromRow)]
pub(crate) struct StoredHeld {
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) told: String,
    pub(crate) told_at: UnixTime,
    pub(crate) acked_at: Option<UnixTime>,
    pub(crate) outcome: Option<String>,
}

/// What was told or acknowledged of one version.
#[derive(Debug, Clone, PartialEq, Eq, Hash, FromRow)]
pub(crate) struct HeldChange {
    pub(crate) vm_id: VmId,
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) told: String,
    pub(crate) told_at: UnixTime,
    pub(crate) acked_at: Option<UnixTime>,
    pub(crate) outcome: Option<String>,
}

/// A VM and a key of its tenant.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) tenant: TenantId,
    pub(crate) vm: VmId,
    pub(crate) key: ProviderKeyId,
}

impl Store {
    pub(crate) async fn held(
        &self,
        (tenant, vm): (TenantId, VmId),
        (after_key, after_version): (&str, i64),
        rows: i64,
    ) -> Result<Vec<StoredHeld>, StoreError> {
        const SQL: &str = "SELECT k.name AS key, h.version, h.told, h.told_at, h.acked_at, \
            h.outcome FROM held_versions h JOIN provider_keys k ON k.id = h.key_id \
            WHERE h.tenant_id = $1 AND h.vm_id = $2 \
            AND (k.name > $3 OR (k.name = $3 AND h.version > $4)) \
            ORDER BY k.name, h.version LIMIT $5";
        sql!(
            self,
            query_as(SQL, tenant, vm, after_key, after_version, rows).fetch_all
        )
    }

    /// What was told or acknowledged since then, in that order.
    pub(crate) async fn held_since(
        &self,
        tenant: TenantId,
        since: UnixTime,
        rows: i64,
    ) -> Result<Vec<HeldChange>, StoreError> {
        const SQL: &str = "SELECT h.vm_id, k.name AS key, h.version, h.told, h.told_at, \
            h.acked_at, h.outcome FROM held_versions h JOIN provider_keys k ON k.id = h.key_id \
            WHERE h.tenant_id = $1 AND (h.told_at >= $2 OR h.acked_at >= $2) \
            ORDER BY COALESCE(h.acked_at, h.told_at) LIMIT $3";
        sql!(self, query_as(SQL, tenant, since, rows).fetch_all)
    }

    /// Notes an acknowledgement: of one version, or with `None` of all that were told away and are
    /// not wiped yet. That a version is held comes too late once it was told away.
    pub(crate) async fn acknowledge(
        &self,
        held: Held,
        version: Option<i64>,
        (outcome, at): (&str, UnixTime),
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE held_versions SET outcome = $5, acked_at = $6 \
            WHERE tenant_id = $1 AND vm_id = $2 AND key_id = $3 \
            AND ((version = $4 AND ($5 <> 'held' OR told = 'put')) \
            OR ($4 = 0 AND told <> 'put' AND (outcome IS NULL OR outcome <> 'wiped')))";
        sql!(
            self,
            query(
                SQL,
                held.tenant,
                held.vm,
                held.key,
                version.unwrap_or(0),
                outcome,
                at
            )
            .execute
        )
        .map(drop)
    }

    /// Notes that a VM's agent was told to wipe everything, unless another has taken its place.
    pub(crate) async fn told_wipe(
        &self,
        (tenant, vm): (TenantId, VmId),
        agent_key: &[u8],
        at: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE held_versions SET told = 'wipe', told_at = $4, \
            acked_at = NULL, outcome = NULL WHERE tenant_id = $1 AND vm_id = $2 \
            AND (outcome IS NULL OR outcome <> 'wiped') \
            AND NOT EXISTS (SELECT 1 FROM reattach_credentials r \
            WHERE r.tenant_id = $1 AND r.vm_id = $2 AND r.agent_key <> $3)";
        sql!(self, query(SQL, tenant, vm, agent_key, at).execute).map(drop)
    }

    /// Notes that a VM's agent has wiped everything, unless another has taken its place.
    pub(crate) async fn all_wiped(
        &self,
        (tenant, vm): (TenantId, VmId),
        agent_key: &[u8],
        at: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE held_versions SET outcome = 'wiped', acked_at = $4 \
            WHERE tenant_id = $1 AND vm_id = $2 AND (outcome IS NULL OR outcome <> 'wiped') \
            AND NOT EXISTS (SELECT 1 FROM reattach_credentials r \
            WHERE r.tenant_id = $1 AND r.vm_id = $2 AND r.agent_key <> $3)";
        sql!(self, query(SQL, tenant, vm, agent_key, at).execute).map(drop)
    }
}

impl Transaction {
    /// Notes that a VM is told to hold a version.
    pub(crate) async fn told_put(
        &mut self,
        held: Held,
        version: i64,
        at: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO held_versions (vm_id, key_id, version, tenant_id, told_at, \
            told) VALUES ($1, $2, $3, $4, $5, 'put') ON CONFLICT (vm_id, key_id, version) \
            DO UPDATE SET told = 'put', told_at = excluded.told_at, acked_at = NULL, \
            outcome = NULL";
        sql!(
            self,
            query(SQL, held.vm, held.key, version, held.tenant, at).execute
        )
        .map(drop)
    }

    /// Notes that a VM is told to forget: one version, or with `None` all of them.
    pub(crate) async fn told_away(
        &mut self,
        held: Held,
        version: Option<i64>,
        (told, at): (&str, UnixTime),
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE held_versions SET told = $5, told_at = $6, acked_at = NULL, \
            outcome = NULL WHERE tenant_id = $1 AND vm_id = $2 AND key_id = $3 \
            AND (version = $4 OR $4 = 0) AND (outcome IS NULL OR outcome <> 'wiped')";
        sql!(
            self,
            query(
                SQL,
                held.tenant,
                held.vm,
                held.key,
                version.unwrap_or(0),
                told,
                at
            )
            .execute
        )
        .map(drop)
    }
}
