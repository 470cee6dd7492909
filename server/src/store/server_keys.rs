//! The server's own key pairs.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, Transaction, UnixTime, sql};
use crate::vault::seal::Sealed;

/// A pair to be; there is one current pair for each purpose.
pub(crate) struct NewServerKey {
    pub(crate) id: Uuid,
    pub(crate) purpose: &'static str,
    pub(crate) public_key: Vec<u8>,
    pub(crate) sealed: Sealed,
    pub(crate) created_at: UnixTime,
}

/// A pair that counts.
#[derive(FromRow)]
pub(crate) struct StoredServerKey {
    pub(crate) id: Uuid,
    pub(crate) status: String,
    #[sqlx(flatten)]
    pub(crate) sealed: Sealed,
}

impl Store {
    /// The pairs of one purpose that count now.
    pub(crate) async fn server_keys(
        &self,
        purpose: &str,
        now: UnixTime,
    ) -> Result<Vec<StoredServerKey>, StoreError> {
        const SQL: &str = "SELECT id, status, salt, secret AS ciphertext, master_key_id \
            FROM server_keys \
            WHERE purpose = $1 AND (status = 'current' \
            OR (status = 'previous' AND valid_until > $2)) ORDER BY id DESC";
        sql!(self, query_as(SQL, purpose, now).fetch_all)
    }

    /// The ids of all pairs that count now.
    pub(crate) async fn server_key_ids(&self, now: UnixTime) -> Result<Vec<Uuid>, StoreError> {
        const SQL: &str = "SELECT id FROM server_keys WHERE status = 'current' \
            OR (status = 'previous' AND valid_until > $1)";
        sql!(self, query_scalar(SQL, now).fetch_all)
    }

    /// Destroys the private halves of pairs whose overlap is over.
    pub(crate) async fn retire_old_server_keys(&self, now: UnixTime) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE server_keys SET status = 'retired', salt = $1, secret = $1 \
            WHERE status = 'previous' AND valid_until <= $2";
        sql!(self, query(SQL, b"".as_slice(), now).execute)
    }
}

impl Transaction {
    pub(crate) async fn insert_server_key(&mut self, new: &NewServerKey) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO server_keys \
            (id, purpose, public_key, salt, secret, master_key_id, created_at, status) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, 'current')";
        sql!(
            self,
            query(
                SQL,
                new.id,
                new.purpose,
                &new.public_key,
                &new.sealed.salt,
                &new.sealed.ciphertext,
                &new.sealed.master_key_id,
                new.created_at
            )
            .execute
        )
        .map(drop)
    }

    /// Makes the current pair of a purpose a previous one, which counts until then.
    pub(crate) async fn retire_server_key(
        &mut self,
        purpose: &str,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE server_keys SET status = 'previous', valid_until = $1 \
            WHERE purpose = $2 AND status = 'current'";
        sql!(self, query(SQL, until, purpose).execute).map(drop)
    }
}
