//! Audit events: a transaction gathers them, and links them to their chains when it commits.
//!
//! The end of a chain is locked last of all and for no longer than the commit takes, in the order
//! of the chains, so that no two transactions ever wait for each other. However many events there
//! are, they are written with few statements.

use std::collections::BTreeMap;

use keyferry_protocol::wire::MOST_USED;
use serde::Serialize;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use super::many_rows::{batches, places};
use super::{
    ChainId, Pool, Store, StoreError, TenantId, Transaction, UnixTime, in_time, on_database, sql,
    uuid_v7,
};
use crate::app::App;
use crate::audit::{ChainKey, Entry, HASH, Link};
use crate::{alerts, traces};

/// An event as the database keeps it.
#[derive(Clone, FromRow, Serialize)]
pub(crate) struct AuditRecord {
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) at: UnixTime,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) subject: Option<String>,
    pub(crate) detail: String,
    pub(crate) correlation_id: Uuid,
}

/// Events that wait for their transaction's commit.
#[derive(Default)]
pub(super) struct Unwritten {
    events: BTreeMap<ChainId, Vec<AuditRecord>>,
    key: Option<ChainKey>,
}

impl AuditRecord {
    fn new(app: &App, entry: &Entry<'_>) -> Self {
        let at = app.clock.now();
        Self {
            id: uuid_v7(at, &mut app.rng()),
            tenant_id: entry.tenant,
            at,
            actor: entry.actor.to_owned(),
            action: entry.action.to_owned(),
            subject: entry.subject.map(str::to_owned),
            detail: entry.detail.to_string(),
            correlation_id: entry.correlation,
        }
    }
}

/// What the proxy of a VM has used of a key. Sums of what agents say are as large as they like.
#[derive(FromRow)]
pub(crate) struct UsedKey {
    pub(crate) key: String,
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
}

impl Store {
    /// What this actor's requests have used since then.
    pub(crate) async fn used_since(
        &self,
        actor: &str,
        since: UnixTime,
    ) -> Result<Vec<UsedKey>, StoreError> {
        const SQLITE: &str = "SELECT subject AS key, \
            TOTAL(json_extract(detail, '$.count')) AS requests, \
            TOTAL(json_extract(detail, '$.sent')) + TOTAL(json_extract(detail, '$.received')) \
            AS bytes FROM audit_events WHERE actor = $1 AND at >= $2 AND action = 'key.opened' \
            AND json_extract(detail, '$.requested') GROUP BY subject ORDER BY subject LIMIT $3";
        const POSTGRES: &str = "SELECT subject AS key, \
            SUM((detail::json ->> 'count')::double precision) AS requests, \
            SUM((detail::json ->> 'sent')::double precision \
            + (detail::json ->> 'received')::double precision) AS bytes \
            FROM audit_events WHERE actor = $1 AND at >= $2 AND action = 'key.opened' \
            AND detail::json ->> 'requested' = 'true' GROUP BY subject ORDER BY subject LIMIT $3";
        let sql = match self.pool {
            Pool::Postgres(_) => POSTGRES,
            Pool::Sqlite(_) => SQLITE,
        };
        let most = i64::try_from(MOST_USED).unwrap_or(i64::MAX);
        sql!(self, query_as(sql, actor, since, most).fetch_all)
    }
}

impl Transaction {
    /// Writes an event down together with what it tells of.
    #[expect(
        clippy::unused_async,
        reason = "callers should not depend on when the row is written"
    )]
    pub(crate) async fn insert_audit_event(
        &mut self,
        app: &App,
        entry: &Entry<'_>,
    ) -> Result<(), StoreError> {
        let event = AuditRecord::new(app, entry);
        let chain = ChainId::of(entry.tenant);
        self.audit.events.entry(chain).or_default().push(event);
        if self.audit.key.is_none() {
            self.audit.key = Some(app.audit_key.clone());
        }
        Ok(())
    }

    /// What cannot be audited must not happen: any failure here ends the transaction.
    pub(super) async fn write_audit(&mut self) -> Result<(), StoreError> {
        let gathered = std::mem::take(&mut self.audit);
        let Some(key) = gathered.key else {
            return Ok(());
        };
        for (chain, events) in &gathered.events {
            let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
            let mut end = self.lock_chain(*chain, count).await?;
            let mut links = Vec::with_capacity(events.len());
            for event in events {
                end = end.next(&key, event);
                links.push((end, event));
            }
            for batch in batches(&links) {
                self.insert_links(batch).await?;
            }
            let security = |event: &&AuditRecord| alerts::concerns_security(&event.action);
            let told: Vec<&AuditRecord> = events.iter().filter(security).collect();
            for batch in batches(&told) {
                self.insert_alerts(batch).await?;
            }
            self.end_chain(&end).await?;
        }
        Ok(())
    }

    /// Locks the end of a chain for so many more events, and tells where it was.
    pub(super) async fn lock_chain(
        &mut self,
        chain: ChainId,
        count: i64,
    ) -> Result<Link, StoreError> {
        const SQL: &str = "INSERT INTO audit_heads \
            (chain_id, seq, hash, pruned_seq, pruned_hash, pruned_mac) \
            VALUES ($1, $2, $3, 0, $3, $3) \
            ON CONFLICT (chain_id) DO UPDATE SET seq = audit_heads.seq + excluded.seq \
            RETURNING seq, hash";
        let origin = Link::origin(chain);
        let (seq, hash): (i64, Vec<u8>) = sql!(
            self,
            query_as(SQL, chain, count, origin.hash.as_slice()).fetch_one
        )?;
        Ok(Link {
            chain,
            seq: seq - count,
            hash: sized(&hash),
        })
    }

    async fn insert_links(&mut self, batch: &[(Link, &AuditRecord)]) -> Result<(), StoreError> {
        let sql = AssertSqlSafe(format!(
            "INSERT INTO audit_events (id, tenant_id, at, actor, action, subject, detail, \
             correlation_id, chain_id, seq, hash) VALUES {}",
            places(batch.len(), 11)
        ));
        let bound = self.bound();
        on_database!(self, |db| {
            let span = traces::statement(&sql);
            let mut query = sqlx::query(sql);
            for (link, event) in batch {
                query = query
                    .bind(event.id)
                    .bind(event.tenant_id)
                    .bind(event.at)
                    .bind(&event.actor)
                    .bind(&event.action)
                    .bind(&event.subject)
                    .bind(&event.detail)
                    .bind(event.correlation_id)
                    .bind(link.chain)
                    .bind(link.seq)
                    .bind(link.hash.as_slice());
            }
            in_time(&bound, span, query.execute(db)).await.map(drop)
        })
    }

    pub(super) async fn end_chain(&mut self, end: &Link) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE audit_heads SET hash = $2 WHERE chain_id = $1";
        sql!(self, query(SQL, end.chain, end.hash.as_slice()).execute)?;
        Ok(())
    }
}

/// A hash out of the database; a wrong length is a hash that fits nothing.
pub(super) fn sized(bytes: &[u8]) -> [u8; HASH] {
    bytes.try_into().unwrap_or([0xff; HASH])
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use crate::audit::{Entry, verify};
    use crate::store::sql;
    use crate::testing;

    #[tokio::test]
    async fn hundreds_of_events_of_one_change_are_all_linked_and_told() {
        let server = testing::server().await;
        let app = &server.app;
        let entry = Entry {
            tenant: None,
            actor: "operator",
            action: "vm.wipe",
            subject: None,
            detail: json!({}),
            correlation: Uuid::nil(),
        };
        let mut change = app.store.begin().await.unwrap();
        for _ in 0..600 {
            change.insert_audit_event(app, &entry).await.unwrap();
        }
        change.commit().await.unwrap();
        assert!(verify(&app.books(), None, &|_| {}).await.unwrap().intact);
        const LINKED: &str = "SELECT COUNT(*) FROM audit_events e \
            JOIN pending_alerts p ON p.event_id = e.id AND p.next_at = e.at \
            WHERE e.seq BETWEEN 1 AND 600 AND p.attempts = 0";
        let linked: i64 = sql!(app.store, query_scalar(LINKED).fetch_one).unwrap();
        assert_eq!(linked, 600);
    }
}
