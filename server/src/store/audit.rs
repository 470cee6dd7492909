//! Audit events.

use uuid::Uuid;

use super::{Store, StoreError, Transaction, UnixTime, sql, uuid_v7};
use crate::app::App;
use crate::audit::Entry;

const INSERT: &str = "INSERT INTO audit_events \
    (id, tenant_id, at, actor, action, subject, detail, correlation_id) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

impl Store {
    pub(crate) async fn insert_audit_event(
        &self,
        id: Uuid,
        at: UnixTime,
        entry: &Entry<'_>,
    ) -> Result<(), StoreError> {
        let detail = entry.detail.to_string();
        sql!(
            self,
            query(
                INSERT,
                id,
                entry.tenant,
                at,
                entry.actor,
                entry.action,
                entry.subject,
                detail,
                entry.correlation
            )
            .execute
        )
        .map(drop)
    }
}

impl Transaction {
    /// Writes an event down together with what it tells of.
    pub(crate) async fn insert_audit_event(
        &mut self,
        app: &App,
        entry: &Entry<'_>,
    ) -> Result<(), StoreError> {
        let at = app.clock.now();
        let id = uuid_v7(at, &mut app.rng());
        let detail = entry.detail.to_string();
        sql!(
            self,
            query(
                INSERT,
                id,
                entry.tenant,
                at,
                entry.actor,
                entry.action,
                entry.subject,
                detail,
                entry.correlation
            )
            .execute
        )
        .map(drop)
    }
}
