//! Which row of another system became which of ours.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, TenantId, Transaction, UnixTime, UserId, sql};

/// A row of another system and ours.
pub(crate) struct ImportedRow<'a> {
    pub(crate) source: &'a str,
    pub(crate) kind: &'static str,
    pub(crate) foreign_id: &'a str,
    pub(crate) local_id: [u8; 16],
    /// What a user is called there.
    pub(crate) names_hash: Option<Vec<u8>>,
}

/// What a row became with an earlier import.
#[derive(FromRow)]
pub(crate) struct EarlierRow {
    pub(crate) local_id: Uuid,
    /// Missing in rows from before it was kept, and of accounts that are closed for good.
    pub(crate) names_hash: Option<Vec<u8>>,
}

impl Store {
    /// What the row became, if it was imported.
    pub(crate) async fn imported_row(
        &self,
        source: &str,
        kind: &str,
        foreign_id: &str,
    ) -> Result<Option<EarlierRow>, StoreError> {
        const SQL: &str = "SELECT local_id, names_hash FROM imported_rows \
            WHERE source = $1 AND kind = $2 AND foreign_id = $3";
        sql!(self, query_as(SQL, source, kind, foreign_id).fetch_optional)
    }

    /// The keys that were imported, by their id there, and whose each of them is where it is known.
    pub(crate) async fn imported_keys(
        &self,
        source: &str,
    ) -> Result<Vec<(String, Option<UserId>)>, StoreError> {
        const SQL: &str = "SELECT i.foreign_id, k.created_by FROM imported_rows i \
            LEFT JOIN provider_keys k ON k.id = i.local_id \
            WHERE i.source = $1 AND i.kind = 'key'";
        sql!(self, query_as(SQL, source).fetch_all)
    }

    /// The names of all keys of a tenant.
    pub(crate) async fn key_names(&self, tenant: TenantId) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT name FROM provider_keys WHERE tenant_id = $1";
        sql!(self, query_scalar(SQL, tenant).fetch_all)
    }
}

impl Transaction {
    /// Takes the note back.
    pub(crate) async fn delete_imported_row(
        &mut self,
        row: &ImportedRow<'_>,
    ) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM imported_rows \
            WHERE source = $1 AND kind = $2 AND foreign_id = $3";
        sql!(
            self,
            query(SQL, row.source, row.kind, row.foreign_id).execute
        )
        .map(drop)
    }

    /// Notes what a row became; `false` when it had been imported before.
    pub(crate) async fn insert_imported_row(
        &mut self,
        row: &ImportedRow<'_>,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO imported_rows \
            (source, kind, foreign_id, local_id, names_hash, imported_at) \
            VALUES ($1, $2, $3, $4, $5, $6) \
            ON CONFLICT (source, kind, foreign_id) DO NOTHING";
        let local_id = Uuid::from_bytes(row.local_id);
        let rows = sql!(
            self,
            query(
                SQL,
                row.source,
                row.kind,
                row.foreign_id,
                local_id,
                &row.names_hash,
                now
            )
            .execute
        )?;
        Ok(rows == 1)
    }
}
