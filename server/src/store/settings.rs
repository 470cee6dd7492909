//! Values that the server decides once and keeps, such as its instance id.

use super::{Store, StoreError, Target, Transaction, UnixTime, sql};

impl Store {
    /// The value of `name`, which becomes `proposed` when nobody has decided it before.
    pub(crate) async fn decide_setting(
        &self,
        name: &str,
        proposed: &str,
        now: UnixTime,
    ) -> Result<String, StoreError> {
        const INSERT: &str = "INSERT INTO settings (name, value, updated_at) \
            VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING";
        const SELECT: &str = "SELECT value FROM settings WHERE name = $1";
        sql!(self, query(INSERT, name, proposed, now).execute)?;
        sql!(self, query_scalar(SELECT, name).fetch_one)
    }

    /// The value of `name`, when it has been decided.
    pub(crate) async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM settings WHERE name = $1";
        sql!(self, query_scalar(SQL, name).fetch_optional)
    }

    /// The same if it was written down at this time.
    pub(crate) async fn setting_of(
        &self,
        name: &str,
        at: UnixTime,
    ) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM settings WHERE name = $1 AND updated_at = $2";
        sql!(self, query_scalar(SQL, name, at).fetch_optional)
    }
}

impl Transaction {
    /// Lets nobody else decide anything before this transaction ends.
    pub(crate) async fn hold_settings(&mut self) -> Result<(), StoreError> {
        const POSTGRES: &str = "LOCK TABLE settings IN SHARE ROW EXCLUSIVE MODE";
        // SQLite has one writer, and whoever begins to write is it.
        const SQLITE: &str = "DELETE FROM settings WHERE 1 = 0";
        let sql = match self.target() {
            Target::Postgres(_) => POSTGRES,
            Target::Sqlite(_) => SQLITE,
        };
        sql!(self, query(sql).execute).map(drop)
    }

    /// The value of `name`, when it has been decided.
    pub(crate) async fn setting(&mut self, name: &str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM settings WHERE name = $1";
        sql!(self, query_scalar(SQL, name).fetch_optional)
    }

    /// Changes a value, or decides it.
    pub(crate) async fn set_setting(
        &mut self,
        name: &str,
        value: &str,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO settings (name, value, updated_at) VALUES ($1, $2, $3) \
            ON CONFLICT (name) DO UPDATE SET value = excluded.value, \
            updated_at = excluded.updated_at";
        sql!(self, query(SQL, name, value, now).execute).map(drop)
    }
}

/// Names the installation: whoever uses a database for the first time decides it, before anything
/// else is written.
pub(crate) const INSTANCE: &str = "instance_id";
