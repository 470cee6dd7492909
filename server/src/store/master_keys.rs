//! The change of the master key that is under way, and those that are retired.

use base64ct::{Base64UrlUnpadded, Encoding};
use sqlx::FromRow;

use super::{Store, StoreError, Transaction, UnixTime, sql};
use crate::vault::seal::Sealed;

/// A change of the master key: each of the two keys, sealed under the other.
#[derive(FromRow)]
pub(crate) struct StoredRotation {
    pub(crate) old_id: Vec<u8>,
    pub(crate) new_id: Vec<u8>,
    new_salt: Vec<u8>,
    new_under_old: Vec<u8>,
    old_salt: Vec<u8>,
    old_under_new: Vec<u8>,
    pub(crate) begun_at: UnixTime,
}

impl StoredRotation {
    /// The new key, which the old one opens.
    pub(crate) fn sealed_new(&self) -> Sealed {
        Sealed {
            salt: self.new_salt.clone(),
            ciphertext: self.new_under_old.clone(),
            master_key_id: self.old_id.clone(),
        }
    }

    /// The old key, which the new one opens.
    pub(crate) fn sealed_old(&self) -> Sealed {
        Sealed {
            salt: self.old_salt.clone(),
            ciphertext: self.old_under_new.clone(),
            master_key_id: self.new_id.clone(),
        }
    }
}

impl Store {
    /// The change that is under way.
    pub(crate) async fn master_key_rotation(&self) -> Result<Option<StoredRotation>, StoreError> {
        const SQL: &str = "SELECT old_id, new_id, new_salt, new_under_old, old_salt, \
            old_under_new, begun_at FROM master_key_rotations";
        sql!(self, query_as(SQL).fetch_optional)
    }
}

impl Transaction {
    /// Announces a change; there can be only one.
    pub(crate) async fn begin_master_key_rotation(
        &mut self,
        new: &Sealed,
        old: &Sealed,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO master_key_rotations (the_only, old_id, new_id, new_salt, \
            new_under_old, old_salt, old_under_new, begun_at) \
            VALUES (1, $1, $2, $3, $4, $5, $6, $7)";
        sql!(
            self,
            query(
                SQL,
                &new.master_key_id,
                &old.master_key_id,
                &new.salt,
                &new.ciphertext,
                &old.salt,
                &old.ciphertext,
                now
            )
            .execute
        )
        .map(drop)
    }

    /// The id of the key that is about to take over, as settings print it.
    pub(crate) async fn new_master_key(&mut self) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT new_id FROM master_key_rotations";
        let id: Option<Vec<u8>> = sql!(self, query_scalar(SQL).fetch_optional)?;
        Ok(id.map(|id| Base64UrlUnpadded::encode_string(&id)))
    }

    /// Whether this key was replaced before.
    pub(crate) async fn is_retired(&mut self, id: &[u8]) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT COUNT(*) > 0 FROM retired_master_keys WHERE id = $1";
        sql!(self, query_scalar(SQL, id).fetch_one)
    }

    /// From now on nothing can be sealed under this key.
    pub(crate) async fn retire_master_key(
        &mut self,
        id: &[u8],
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO retired_master_keys (id, retired_at) VALUES ($1, $2)";
        sql!(self, query(SQL, id, now).execute).map(drop)
    }

    /// Forgets both keys of the change that is over.
    pub(crate) async fn end_master_key_rotation(&mut self) -> Result<(), StoreError> {
        const SQL: &str = "DELETE FROM master_key_rotations";
        sql!(self, query(SQL).execute).map(drop)
    }
}
