//! The chains of the audit: where they end, what is in them, what was pruned, and their key.

use sqlx::FromRow;
use uuid::Uuid;

use super::audit::sized;
use super::{AuditRecord, ChainId, Store, StoreError, Target, Transaction, UnixTime, sql};
use crate::audit::{ChainKey, Filter, HASH, Link};
use crate::vault::seal::Sealed;

/// Where a chain begins and ends.
pub(crate) struct Head {
    pub(crate) end: Link,
    /// Everything up to here was pruned.
    pub(crate) pruned: Link,
    pub(crate) pruned_mac: Vec<u8>,
}

/// An event with its place in a chain.
#[derive(Clone, FromRow)]
pub(crate) struct LinkedRecord {
    #[sqlx(flatten)]
    pub(crate) event: AuditRecord,
    pub(crate) seq: i64,
    hash: Vec<u8>,
}

#[derive(FromRow)]
struct HeadRow {
    chain_id: ChainId,
    seq: i64,
    hash: Vec<u8>,
    pruned_seq: i64,
    pruned_hash: Vec<u8>,
    pruned_mac: Vec<u8>,
}

impl LinkedRecord {
    pub(crate) fn link(&self, chain: ChainId) -> Link {
        Link {
            chain,
            seq: self.seq,
            hash: sized(&self.hash),
        }
    }
}

impl HeadRow {
    fn head(self) -> Head {
        let chain = self.chain_id;
        Head {
            end: Link {
                chain,
                seq: self.seq,
                hash: sized(&self.hash),
            },
            pruned: Link {
                chain,
                seq: self.pruned_seq,
                hash: sized(&self.pruned_hash),
            },
            pruned_mac: self.pruned_mac,
        }
    }
}

impl Store {
    /// Every chain, in the order of their ids.
    pub(crate) async fn audit_heads(&self) -> Result<Vec<Head>, StoreError> {
        const SQL: &str = "SELECT chain_id, seq, hash, pruned_seq, pruned_hash, pruned_mac \
            FROM audit_heads ORDER BY chain_id";
        let rows: Vec<HeadRow> = sql!(self, query_as(SQL).fetch_all)?;
        Ok(rows.into_iter().map(HeadRow::head).collect())
    }

    pub(crate) async fn audit_head(&self, chain: ChainId) -> Result<Option<Head>, StoreError> {
        const SQL: &str = "SELECT chain_id, seq, hash, pruned_seq, pruned_hash, pruned_mac \
            FROM audit_heads WHERE chain_id = $1";
        let row: Option<HeadRow> = sql!(self, query_as(SQL, chain).fetch_optional)?;
        Ok(row.map(HeadRow::head))
    }

    /// The events of a chain after this place, oldest first.
    pub(crate) async fn audit_after(
        &self,
        chain: ChainId,
        seq: i64,
        rows: i64,
    ) -> Result<Vec<LinkedRecord>, StoreError> {
        const SQL: &str = "SELECT id, tenant_id, at, actor, action, subject, detail, \
            correlation_id, seq, hash FROM audit_events WHERE chain_id = $1 AND seq > $2 \
            ORDER BY seq LIMIT $3";
        sql!(self, query_as(SQL, chain, seq, rows).fetch_all)
    }

    /// The events of a chain before this place that pass the filter, newest first.
    pub(crate) async fn audit_before(
        &self,
        chain: ChainId,
        (before, rows): (i64, i64),
        filter: &Filter,
    ) -> Result<Vec<LinkedRecord>, StoreError> {
        const SQL: &str = "SELECT id, tenant_id, at, actor, action, subject, detail, \
            correlation_id, seq, hash FROM audit_events WHERE chain_id = $1 AND seq < $2 \
            AND ($4 IS NULL OR substr(action, 1, length($4)) = $4) \
            AND ($5 IS NULL OR actor = $5) AND ($6 IS NULL OR subject = $6) \
            AND ($7 IS NULL OR correlation_id = $7) \
            AND ($8 IS NULL OR at >= $8) AND ($9 IS NULL OR at < $9) \
            ORDER BY seq DESC LIMIT $3";
        sql!(
            self,
            query_as(
                SQL,
                chain,
                before,
                rows,
                &filter.action,
                &filter.actor,
                &filter.subject,
                filter.correlation,
                filter.since,
                filter.until
            )
            .fetch_all
        )
    }

    /// The hash of one event.
    pub(crate) async fn audit_link(
        &self,
        chain: ChainId,
        seq: i64,
    ) -> Result<Option<Link>, StoreError> {
        const SQL: &str = "SELECT hash FROM audit_events WHERE chain_id = $1 AND seq = $2";
        let hash: Option<Vec<u8>> = sql!(self, query_scalar(SQL, chain, seq).fetch_optional)?;
        Ok(hash.map(|hash| Link {
            chain,
            seq,
            hash: sized(&hash),
        }))
    }

    /// The first event in this part of a chain that is not older than this time.
    pub(crate) async fn first_audit_event_since(
        &self,
        chain: ChainId,
        (after, upto): (i64, i64),
        time: UnixTime,
    ) -> Result<Option<i64>, StoreError> {
        const SQL: &str = "SELECT MIN(seq) FROM audit_events \
            WHERE chain_id = $1 AND seq > $2 AND seq <= $3 AND at >= $4";
        sql!(self, query_scalar(SQL, chain, after, upto, time).fetch_one)
    }

    /// When the newest event happened.
    pub(crate) async fn newest_event(&self) -> Result<Option<UnixTime>, StoreError> {
        const SQL: &str = "SELECT MAX(at) FROM audit_events";
        sql!(self, query_scalar(SQL).fetch_one)
    }

    pub(crate) async fn audit_key(&self) -> Result<Option<Sealed>, StoreError> {
        const SQL: &str = "SELECT salt, ciphertext, master_key_id FROM audit_keys";
        sql!(self, query_as(SQL).fetch_optional)
    }

    /// The newest event since then that tells of a database that was brought back.
    pub(crate) async fn newest_restore(
        &self,
        since: UnixTime,
    ) -> Result<Option<LinkedRecord>, StoreError> {
        const SQL: &str = "SELECT id, tenant_id, at, actor, action, subject, detail, \
            correlation_id, seq, hash FROM audit_events WHERE chain_id = $1 AND at > $2 \
            AND action IN ('server.restored', 'operator.restored') AND hash IS NOT NULL \
            ORDER BY at DESC LIMIT 1";
        sql!(self, query_as(SQL, ChainId::SERVER, since).fetch_optional)
    }
}

impl Transaction {
    /// How many events are in no chain. Looks at all of them.
    pub(crate) async fn unlinked_audit_events(&mut self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM audit_events e WHERE e.hash IS NULL \
            OR e.chain_id IS NULL OR NOT EXISTS \
            (SELECT 1 FROM audit_heads h WHERE h.chain_id = e.chain_id)";
        sql!(self, query_scalar(SQL).fetch_one)
    }

    /// Keeps this key, unless another one is kept already; tells whether it does. There is one row,
    /// of one id.
    pub(crate) async fn insert_audit_key(
        &mut self,
        key: &Sealed,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO audit_keys \
            (id, salt, ciphertext, master_key_id, created_at) VALUES ($1, $2, $3, $4, $5) \
            ON CONFLICT (id) DO NOTHING";
        let kept = sql!(
            self,
            query(
                SQL,
                Uuid::max(),
                &key.salt,
                &key.ciphertext,
                &key.master_key_id,
                now
            )
            .execute
        )?;
        Ok(kept == 1)
    }

    /// Begins to link events from before there was a chain; false when there is one.
    pub(crate) async fn begin_audit(&mut self) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) FROM audit_heads WHERE chain_id <> $1 OR seq > 0";
        self.lock_chain(ChainId::SERVER, 0).await?;
        let begun: i64 = sql!(self, query_scalar(SQL, ChainId::SERVER).fetch_one)?;
        Ok(begun == 0)
    }

    /// Some events that are in no chain, oldest first.
    pub(crate) async fn unlinked_audit(&mut self) -> Result<Vec<AuditRecord>, StoreError> {
        const SQL: &str = "SELECT id, tenant_id, at, actor, action, subject, detail, \
            correlation_id FROM audit_events WHERE hash IS NULL ORDER BY at, id LIMIT 1000";
        sql!(self, query_as(SQL).fetch_all)
    }

    /// Gives an event that is in no chain its place.
    pub(crate) async fn link_audit(
        &mut self,
        event: &AuditRecord,
        link: &Link,
    ) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE audit_events SET chain_id = $2, seq = $3, hash = $4 WHERE id = $1";
        sql!(
            self,
            query(SQL, event.id, link.chain, link.seq, link.hash.as_slice()).execute
        )?;
        Ok(())
    }

    /// Makes a new chain end here.
    pub(crate) async fn begin_chain(&mut self, end: &Link) -> Result<(), StoreError> {
        self.lock_chain(end.chain, end.seq).await?;
        self.end_chain(end).await
    }

    /// Forgets a chain's events up to here, and keeps what vouches for the rest.
    pub(crate) async fn prune_chain(
        &mut self,
        upto: &Link,
        key: &ChainKey,
    ) -> Result<u64, StoreError> {
        const HEAD: &str = "UPDATE audit_heads SET pruned_seq = $2, pruned_hash = $3, \
            pruned_mac = $4 WHERE chain_id = $1 AND pruned_seq < $2";
        const EVENTS: &str = "DELETE FROM audit_events WHERE chain_id = $1 AND seq <= $2";
        let mac: [u8; HASH] = upto.pruned_mac(key);
        if let Target::Postgres(_) = self.target() {
            return self.prune_by_function(upto, &mac).await;
        }
        sql!(
            self,
            query(
                HEAD,
                upto.chain,
                upto.seq,
                upto.hash.as_slice(),
                mac.as_slice()
            )
            .execute
        )?;
        sql!(self, query(EVENTS, upto.chain, upto.seq).execute)
    }

    /// The same in PostgreSQL, where a server need not have the right to delete events.
    async fn prune_by_function(&mut self, upto: &Link, mac: &[u8]) -> Result<u64, StoreError> {
        const SQL: &str = "SELECT prune_audit($1, $2, $3, $4)";
        let (chain, seq, hash) = (upto.chain, upto.seq, upto.hash.as_slice());
        let gone: i64 = sql!(self, query_scalar(SQL, chain, seq, hash, mac).fetch_one)?;
        Ok(gone.unsigned_abs())
    }
}
