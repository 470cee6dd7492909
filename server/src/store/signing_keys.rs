//! The keys that sign access tokens.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, Transaction, UnixTime, sql};
use crate::vault::seal::Sealed;

/// A signing key to be.
pub(crate) struct NewSigningKey {
    pub(crate) id: Uuid,
    pub(crate) public_key: Vec<u8>,
    pub(crate) sealed: Sealed,
    pub(crate) created_at: UnixTime,
}

/// A signing key that is current or previous.
#[derive(FromRow)]
pub(crate) struct StoredSigningKey {
    pub(crate) id: Uuid,
    pub(crate) public_key: Vec<u8>,
    #[sqlx(flatten)]
    pub(crate) sealed: Sealed,
    pub(crate) status: String,
}

impl Store {
    /// The keys whose tokens count now.
    pub(crate) async fn signing_keys(
        &self,
        now: UnixTime,
    ) -> Result<Vec<StoredSigningKey>, StoreError> {
        const SQL: &str = "SELECT id, public_key, salt, secret AS ciphertext, master_key_id, \
            status FROM signing_keys WHERE status <> 'retired' AND algorithm = 'EdDSA' \
            AND (valid_until IS NULL OR valid_until > $1) ORDER BY id";
        sql!(self, query_as(SQL, now).fetch_all)
    }

    /// Notes that tokens of these keys have all ended.
    pub(crate) async fn retire_old_signing_keys(&self, now: UnixTime) -> Result<u64, StoreError> {
        const SQL: &str = "UPDATE signing_keys SET status = 'retired' WHERE status = 'previous' AND valid_until <= $1";
        sql!(self, query(SQL, now).execute)
    }
}

impl Transaction {
    /// Adds the current key; there can be only one.
    pub(crate) async fn insert_signing_key(
        &mut self,
        new: &NewSigningKey,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO signing_keys \
            (id, algorithm, public_key, salt, secret, master_key_id, created_at, status) \
            VALUES ($1, 'EdDSA', $2, $3, $4, $5, $6, 'current')";
        sql!(
            self,
            query(
                SQL,
                new.id,
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

    /// Makes the current key a previous one, whose tokens count until then, and destroys its
    /// private half.
    pub(crate) async fn retire_signing_key(&mut self, until: UnixTime) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE signing_keys SET status = 'previous', valid_until = $1, \
            secret = $2, salt = $2 WHERE status = 'current'";
        sql!(self, query(SQL, until, b"".as_slice()).execute).map(drop)
    }
}
