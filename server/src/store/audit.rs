//! Audit events.

use uuid::Uuid;

use super::{Store, StoreError, UnixTime, on_pool};
use crate::audit::Entry;

impl Store {
    pub(crate) async fn insert_audit_event(
        &self,
        id: Uuid,
        at: UnixTime,
        entry: &Entry<'_>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO audit_events \
            (id, tenant_id, at, actor, action, subject, detail, correlation_id) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let detail = entry.detail.to_string();
        on_pool!(self, |pool| sqlx::query(SQL)
            .bind(id)
            .bind(entry.tenant)
            .bind(at)
            .bind(entry.actor)
            .bind(entry.action)
            .bind(entry.subject)
            .bind(detail)
            .bind(entry.correlation)
            .execute(pool)
            .await
            .map(drop))?;
        Ok(())
    }
}
