//! What the machines of a tenant may be told.

use sqlx::FromRow;

use super::{ProviderKeyId, Store, StoreError, TenantId, UnixTime, sql};

/// A version that may be given to VMs, without its value.
#[derive(FromRow)]
pub(crate) struct DeliverableVersion {
    pub(crate) id: ProviderKeyId,
    pub(crate) name: String,
    pub(crate) provider: String,
    pub(crate) policy: String,
    pub(crate) current_version: i64,
    pub(crate) version: i64,
    pub(crate) retire_at: Option<UnixTime>,
}

/// The versions that may be delivered, in the order of names and versions. They are read a page at a
/// time, for each comes with its key's policy, which is up to 16 KiB.
pub(crate) struct DeliverableVersions<'a> {
    store: &'a Store,
    tenant: TenantId,
    now: UnixTime,
    /// After which key and version the next page begins; `None` behind the last.
    after: Option<(String, i64)>,
}

impl Store {
    /// Every version of the tenant's active keys whose overlap is not over.
    pub(crate) const fn deliverable_versions(
        &self,
        tenant: TenantId,
        now: UnixTime,
    ) -> DeliverableVersions<'_> {
        DeliverableVersions {
            store: self,
            tenant,
            now,
            after: Some((String::new(), 0)),
        }
    }
}

impl DeliverableVersions<'_> {
    /// The next page; `None` when there is none.
    pub(crate) async fn page(&mut self) -> Result<Option<Vec<DeliverableVersion>>, StoreError> {
        const SQL: &str = "SELECT k.id, k.name, k.provider, k.policy, k.current_version, \
            v.version, v.retire_at \
            FROM provider_keys k JOIN key_versions v ON v.key_id = k.id \
            WHERE k.tenant_id = $1 AND k.status = 'active' AND v.destroyed_at IS NULL \
            AND v.held_back_at IS NULL AND (v.retire_at IS NULL OR v.retire_at > $2) \
            AND (k.name > $3 OR (k.name = $3 AND v.version > $4)) \
            ORDER BY k.name, v.version LIMIT $5";
        let Some((name, version)) = &self.after else {
            return Ok(None);
        };
        let (store, tenant, now) = (self.store, self.tenant, self.now);
        let page: Vec<DeliverableVersion> = sql!(
            store,
            query_as(SQL, tenant, now, name.as_str(), *version, PAGE).fetch_all
        )?;
        let full = i64::try_from(page.len()).is_ok_and(|rows| rows == PAGE);
        let last = page.last().filter(|_| full);
        self.after = last.map(|row| (row.name.clone(), row.version));
        Ok(Some(page))
    }
}

/// At most 4 MiB of policies.
const PAGE: i64 = 256;
