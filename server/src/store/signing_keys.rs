//! The keys that sign access tokens.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, UnixTime, on_pool};
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
    pub(crate) salt: Vec<u8>,
    pub(crate) secret: Vec<u8>,
    pub(crate) master_key_id: Vec<u8>,
    pub(crate) status: String,
}

impl Store {
    pub(crate) async fn signing_keys(&self) -> Result<Vec<StoredSigningKey>, StoreError> {
        const SQL: &str = "SELECT id, public_key, salt, secret, master_key_id, status \
            FROM signing_keys WHERE status <> 'retired' AND algorithm = 'EdDSA' ORDER BY id";
        Ok(on_pool!(self, |pool| sqlx::query_as(SQL)
            .fetch_all(pool)
            .await)?)
    }

    /// Adds the current key; there can be only one.
    pub(crate) async fn insert_signing_key(&self, new: &NewSigningKey) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO signing_keys \
            (id, algorithm, public_key, salt, secret, master_key_id, created_at, status) \
            VALUES ($1, 'EdDSA', $2, $3, $4, $5, $6, 'current')";
        on_pool!(self, |pool| sqlx::query(SQL)
            .bind(new.id)
            .bind(&new.public_key)
            .bind(&new.sealed.salt)
            .bind(&new.sealed.ciphertext)
            .bind(&new.sealed.master_key_id)
            .bind(new.created_at)
            .execute(pool)
            .await
            .map(drop))?;
        Ok(())
    }
}
