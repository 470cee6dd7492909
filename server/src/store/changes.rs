//! Notes of what changed lately, for every server that uses this database.

use sqlx::FromRow;

use super::{SessionId, Store, StoreError, TenantId, Transaction, UnixTime, VmId, sql};

/// What changed.
#[derive(FromRow)]
pub(crate) struct ChangeNote {
    pub(crate) kind: String,
    pub(crate) tenant_id: Option<TenantId>,
    pub(crate) vm_id: Option<VmId>,
    pub(crate) session_id: Option<SessionId>,
}

/// A note with the number that it got.
#[derive(FromRow)]
pub(crate) struct StoredChange {
    pub(crate) id: i64,
    #[sqlx(flatten)]
    pub(crate) note: ChangeNote,
}

impl Store {
    /// Notes with higher numbers, the lowest first. One may still appear below another: numbers
    /// are given out before transactions end.
    pub(crate) async fn changes_after(
        &self,
        id: i64,
        most: i64,
    ) -> Result<Vec<StoredChange>, StoreError> {
        const SQL: &str = "SELECT id, kind, tenant_id, vm_id, session_id FROM changes \
            WHERE id > $1 ORDER BY id LIMIT $2";
        sql!(self, query_as(SQL, id, most).fetch_all)
    }

    /// The highest number so far.
    pub(crate) async fn latest_change(&self) -> Result<i64, StoreError> {
        const SQL: &str = "SELECT COALESCE(MAX(id), 0) FROM changes";
        sql!(self, query_scalar(SQL).fetch_one)
    }

    pub(crate) async fn delete_old_changes(&self, before: UnixTime) -> Result<u64, StoreError> {
        const SQL: &str = "DELETE FROM changes WHERE at <= $1";
        sql!(self, query(SQL, before).execute)
    }
}

impl Transaction {
    /// Notes a change, and tells the number of the note.
    pub(crate) async fn note_change(
        &mut self,
        note: &ChangeNote,
        now: UnixTime,
    ) -> Result<i64, StoreError> {
        const SQL: &str = "INSERT INTO changes (kind, tenant_id, vm_id, session_id, at) \
            VALUES ($1, $2, $3, $4, $5) RETURNING id";
        sql!(
            self,
            query_scalar(
                SQL,
                note.kind.as_str(),
                note.tenant_id,
                note.vm_id,
                note.session_id,
                now
            )
            .fetch_one
        )
    }
}
