//! The server's own key pairs.

use sqlx::FromRow;
use uuid::Uuid;

use super::{Store, StoreError, UnixTime, sql};
use crate::vault::seal::Sealed;

/// A pair to be; there is one current pair for each purpose.
pub(crate) struct NewServerKey {
    pub(crate) id: Uuid,
    pub(crate) purpose: &'static str,
    pub(crate) public_key: Vec<u8>,
    pub(crate) sealed: Sealed,
    pub(crate) created_at: UnixTime,
}

#[derive(FromRow)]
struct Row {
    salt: Vec<u8>,
    secret: Vec<u8>,
    master_key_id: Vec<u8>,
}

impl Store {
    pub(crate) async fn current_server_key(
        &self,
        purpose: &str,
    ) -> Result<Option<Sealed>, StoreError> {
        const SQL: &str = "SELECT salt, secret, master_key_id FROM server_keys \
            WHERE purpose = $1 AND status = 'current'";
        let row: Option<Row> = sql!(self, query_as(SQL, purpose).fetch_optional)?;
        Ok(row.map(|row| Sealed {
            salt: row.salt,
            ciphertext: row.secret,
            master_key_id: row.master_key_id,
        }))
    }

    pub(crate) async fn insert_server_key(&self, new: &NewServerKey) -> Result<(), StoreError> {
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
}
