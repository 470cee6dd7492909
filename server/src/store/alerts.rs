//! Security events that the operator's webhook has not taken yet.

use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::many_rows::places;
use super::{AuditRecord, Store, StoreError, Transaction, UnixTime, in_time, on_database, sql};
use crate::traces;

/// An event that waits.
#[derive(FromRow)]
pub(crate) struct PendingAlert {
    #[sqlx(flatten)]
    pub(crate) event: AuditRecord,
    /// How often it was claimed before.
    pub(crate) attempts: i64,
}

impl Store {
    /// Some of what is to be sent now, the oldest first.
    pub(crate) async fn due_alerts(&self, now: UnixTime) -> Result<Vec<PendingAlert>, StoreError> {
        const SQL: &str = "SELECT e.id, e.tenant_id, e.at, e.actor, e.action, e.subject, e.detail, \
            e.correlation_id, p.attempts FROM pending_alerts p \
            JOIN audit_events e ON e.id = p.event_id \
            WHERE p.next_at <= $1 ORDER BY p.next_at, e.id LIMIT 100";
        sql!(self, query_as(SQL, now).fetch_all)
    }

    /// Whether nobody else has claimed it since it was read. A claim ends by itself.
    pub(crate) async fn claim_alert(
        &self,
        alert: &PendingAlert,
        until: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE pending_alerts SET attempts = attempts + 1, next_at = $3 \
            WHERE event_id = $1 AND attempts = $2";
        let rows = sql!(
            self,
            query(SQL, alert.event.id, alert.attempts, until).execute
        )?;
        Ok(rows == 1)
    }

    /// Lets a claim end at another time than it would.
    pub(crate) async fn put_off_alert(
        &self,
        alert: &PendingAlert,
        to: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE pending_alerts SET next_at = $3 WHERE event_id = $1 AND attempts = $2";
        let claimed = alert.attempts + 1;
        sql!(self, query(SQL, alert.event.id, claimed, to).execute).map(drop)
    }

    pub(crate) async fn delete_alert(&self, event: Uuid) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM pending_alerts WHERE event_id = $1";
        sql!(self, query(SQL, event).execute).map(drop)
    }

    pub(crate) async fn delete_old_alerts(&self, before: UnixTime) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM pending_alerts WHERE queued_at < $1";
        sql!(self, query(SQL, before).execute)
    }
}

impl Transaction {
    /// Lets events wait for the webhook.
    pub(super) async fn insert_alerts(&mut self, batch: &[&AuditRecord]) -> Result<(), StoreError> {
        let sql = AssertSqlSafe(format!(
            "INSERT INTO pending_alerts (event_id, queued_at, attempts, next_at) VALUES {}",
            places(batch.len(), 4)
        ));
        let bound = self.bound();
        on_database!(self, |db| {
            let span = traces::statement(&sql);
            let mut query = sqlx::query(sql);
            for event in batch {
                let first: i64 = 0;
                query = query
                    .bind(event.id)
                    .bind(event.at)
                    .bind(first)
                    .bind(event.at);
            }
            in_time(&bound, span, query.execute(db)).await.map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use uuid::Uuid;

    use crate::audit::{self, Entry};
    use crate::testing;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn one_server_at_a_time_has_an_alert_and_a_dead_one_loses_it() {
        let server = testing::server().await;
        let (app, store) = (&server.app, &server.app.store);
        let entry = Entry {
            tenant: None,
            actor: "operator",
            action: "vm.wipe",
            subject: None,
            detail: json!({}),
            correlation: Uuid::nil(),
        };
        audit::append(app, &entry).await.unwrap();
        let due = async || store.due_alerts(app.clock.now()).await.unwrap();
        let (one, other) = (due().await, due().await);
        let until = app.clock.now() + LONG;
        assert!(store.claim_alert(&one[0], until).await.unwrap());
        assert!(!store.claim_alert(&other[0], until).await.unwrap());
        assert!(due().await.is_empty());

        // Whoever has it is dead.
        server.clock.advance(LONG);
        let again = due().await;
        assert_eq!((again[0].event.id, again[0].attempts), (one[0].event.id, 1));
        assert!(store.claim_alert(&again[0], until + LONG).await.unwrap());
        // A word of the first one, should it live after all, is too late.
        store.put_off_alert(&one[0], until).await.unwrap();
        assert!(due().await.is_empty());
        store.delete_alert(one[0].event.id).await.unwrap();
        server.clock.advance(LONG);
        assert!(due().await.is_empty());
    }
}
