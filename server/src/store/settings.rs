//! Values that the server decides once and keeps, such as its instance id.

use super::{Store, StoreError, UnixTime, on_pool};

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
        on_pool!(self, |pool| sqlx::query(INSERT)
            .bind(name)
            .bind(proposed)
            .bind(now)
            .execute(pool)
            .await
            .map(drop))?;
        Ok(on_pool!(self, |pool| sqlx::query_scalar(SELECT)
            .bind(name)
            .fetch_one(pool)
            .await)?)
    }

    /// The value of `name`, when it has been decided.
    pub(crate) async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM settings WHERE name = $1";
        Ok(on_pool!(self, |pool| sqlx::query_scalar(SQL)
            .bind(name)
            .fetch_optional(pool)
            .await)?)
    }
}
