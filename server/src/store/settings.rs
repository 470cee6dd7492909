//! Values that the server decides once and keeps, such as its instance id.

use super::{Store, StoreError, UnixTime, sql};

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
}
